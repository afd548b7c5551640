"""What the zoo is compared with: torch's own layers, plain ones from the papers, these compiled, and other packages'.

An implementation is a module with ``weight`` and ``bias``; ``computes`` names the normalizer that it is one of. What is
not installed, or does not run here, is missing for a reason.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import normzoo
from cases import Case
from naive import NAIVE
from normzoo.norms.group_norm import GroupNorm

SYNCHRONIZED = {"sync_batch_norm": "batch_norm", "sync_batch_renorm": "batch_renorm"}  # in a process alone


def _nothing(case: Case) -> str:
    return ""


@dataclass(frozen=True)
class Implementation:
    """A way to compute a normalizer."""

    name: str
    computes: str
    make: Callable[[Case], nn.Module]  # on the case's device
    missing: Callable[[Case], str] = _nothing  # why it cannot be timed on a case, or nothing
    unchecked: str = ""  # what it defines in another way, so that it is not compared
    ours: bool = False

    def __str__(self) -> str:
        return self.name


def groups(case: Case) -> int:
    """Give the zoo's default number of groups, for rivals to have the same."""
    return GroupNorm(case.channels).groups


class LayerNormByPermute(nn.Module):
    """torch's layer norm over C by moving it last, as timm's LayerNorm2d does; the result lies channels last.

    ``back`` copies the result to the input's layout, which is what the zoo's gives.
    """

    def __init__(self, num_features: int, back: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(num_features)), nn.Parameter(torch.zeros(num_features))
        self.back = back

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space]."""
        y = F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias).movedim(-1, 1)
        return torch.empty_like(x).copy_(y) if self.back else y


class KerasRenorm(nn.Module):
    """keras' BatchNormalization(renorm=True) on its torch backend, with the zoo's options."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        import keras

        with keras.device("gpu" if case.device == "cuda" else "cpu"):
            self.inner = keras.layers.BatchNormalization(
                axis=1,
                epsilon=1e-5,
                renorm=True,
                renorm_clipping={"rmax": 3.0, "rmin": 1 / 3.0, "dmax": 5.0},
                renorm_momentum=0.99,
                dtype=case.dtype_name,
            )
            self.inner.build(case.sizes)

    @property
    def weight(self) -> nn.Parameter:
        """Its gamma."""
        return cast("nn.Parameter", self.inner.gamma.value)

    @property
    def bias(self) -> nn.Parameter:
        """Its beta."""
        return cast("nn.Parameter", self.inner.beta.value)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space]."""
        return cast("Tensor", self.inner(x, training=self.training))


def _torchrl(case: Case) -> nn.Module:
    from torchrl.modules import BatchRenorm1d

    # its warm-up is plain batch norm; its limits are the zoo's by default
    return cast("nn.Module", BatchRenorm1d(case.channels, warmup_steps=0)).to(case.device)


def _liger_groups(number: Callable[[Case], int]) -> Callable[[Case], nn.Module]:
    def make(case: Case) -> nn.Module:
        from liger_kernel.transformers.group_norm import LigerGroupNorm

        layer = LigerGroupNorm(case.channels, number(case), eps=1e-5, bias=False)
        return cast("nn.Module", layer).to(case.device, case.dtype)

    return make


class LigerLayerNormByPermute(nn.Module):
    """liger-kernel's layer norm, with C moved last and back."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        from liger_kernel.transformers.layer_norm import LigerLayerNorm

        self.inner = LigerLayerNorm(num_features, eps=1e-5, bias=False)
        self.weight, self.bias = self.inner.weight, self.inner.bias

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space]."""
        return cast("Tensor", self.inner(x.movedim(1, -1).contiguous()).movedim(-1, 1))


def _compiled(name: str) -> Callable[[Case], nn.Module]:
    def make(case: Case) -> nn.Module:
        torch.compiler.reset()  # else the code's few variants are soon used up by other shapes
        layer = NAIVE[name](case.channels, groups(case)).to(case.device)
        return cast("nn.Module", torch.compile(layer, dynamic=False, fullgraph=True))

    return make


def _no_compiler(case: Case) -> str:
    if case.device == "cuda":
        return "" if importlib.util.find_spec("triton") else "torch.compile needs Triton on a GPU"
    compilers = (os.environ.get("CXX") or "g++", "clang++", "c++")
    return "" if any(map(shutil.which, compilers)) else "torch.compile needs a C++ compiler on a CPU"


def _not_installed(package: str) -> Callable[[Case], str]:
    return lambda case: "" if importlib.util.find_spec(package) else f"{package} is not installed"


def _no_keras(case: Case) -> str:
    if os.environ.setdefault("KERAS_BACKEND", "torch") != "torch":  # keras reads it when it is imported
        return f"keras runs on {os.environ['KERAS_BACKEND']}; set KERAS_BACKEND=torch"
    return _not_installed("keras")(case)


def _no_liger(case: Case) -> str:
    return _not_installed("liger_kernel")(case) or ("" if case.device == "cuda" else "liger-kernel needs a GPU")


def _no_liger_groups(case: Case) -> str:
    return _no_liger(case) or ("" if "x" in case.shape else "liger-kernel's group norm needs positions")


def _batch_norm(case: Case) -> nn.Module:
    return (nn.BatchNorm2d if "x" in case.shape else nn.BatchNorm1d)(case.channels).to(case.device)


def _ours(name: str) -> Implementation:
    def make(case: Case) -> nn.Module:
        return normzoo.create(name, case.channels).to(case.device)

    return Implementation(name, SYNCHRONIZED.get(name, name), make, ours=True)


def _naive(name: str) -> list[Implementation]:
    def make(case: Case) -> nn.Module:
        return NAIVE[name](case.channels, groups(case)).to(case.device)

    return [
        Implementation(f"naive {name}", name, make),
        Implementation(f"compiled naive {name}", name, _compiled(name), _no_compiler),
    ]


def _rivals() -> list[Implementation]:
    def in_dtype(make: Callable[[Case], nn.Module]) -> Callable[[Case], nn.Module]:
        # torch's group and layer norm run fastest with parameters of the input's type, and on GPUs only so
        return lambda case: make(case).to(case.device, case.dtype)

    by_permute = "layer_norm_channels"
    return [
        Implementation("nn.BatchNorm2d", "batch_norm", _batch_norm),
        Implementation("nn.GroupNorm", "group_norm", in_dtype(lambda case: nn.GroupNorm(groups(case), case.channels))),
        Implementation("nn.GroupNorm(1)", "layer_norm", in_dtype(lambda case: nn.GroupNorm(1, case.channels))),
        Implementation("F.layer_norm", by_permute, in_dtype(lambda case: LayerNormByPermute(case.channels))),
        Implementation(
            "F.layer_norm and back", by_permute, in_dtype(lambda case: LayerNormByPermute(case.channels, back=True))
        ),
        *(one for name in ("batch_norm", "batch_renorm", "group_norm", "layer_norm", by_permute) for one in _naive(name)),
        Implementation(
            "torchrl",
            "batch_renorm",
            _torchrl,
            _not_installed("torchrl"),
            "averages the variance, with Bessel's factor from N alone, and gives float32 for bfloat16",
        ),
        Implementation(
            "keras", "batch_renorm", KerasRenorm, _no_keras, "keeps averages for training and for eval apart"
        ),
        Implementation("liger-kernel", "group_norm", _liger_groups(groups), _no_liger_groups),
        Implementation("liger-kernel(1)", "layer_norm", _liger_groups(lambda _: 1), _no_liger_groups),
        Implementation(
            "liger-kernel by permute", by_permute, in_dtype(lambda case: LigerLayerNormByPermute(case.channels)), _no_liger
        ),
    ]


IMPLEMENTATIONS: dict[str, Implementation] = {
    one.name: one for one in (*map(_ours, normzoo.names()), *_rivals())
}
