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
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import normzoo
import peers
from cases import Case
from naive import NAIVE
from normzoo.norms.group_norm import GroupNorm

SYNCHRONIZED = {"sync_batch_norm": "batch_norm", "sync_batch_renorm": "batch_renorm"}  # in a process alone

Make = Callable[[Case], nn.Module]  # on the case's device


def _nothing(case: Case) -> str:
    return ""


@dataclass(frozen=True)
class Implementation:
    """A way to compute a normalizer."""

    name: str
    computes: str
    make: Make
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
        if not self.back or y.stride() == x.stride():
            return y
        return torch.empty_like(x).copy_(y)


def _ours(name: str) -> Implementation:
    def make(case: Case) -> nn.Module:
        return normzoo.create(name, case.channels).to(case.device)

    return Implementation(name, SYNCHRONIZED.get(name, name), make, ours=True)


def _batch_norm(case: Case) -> nn.Module:
    return (nn.BatchNorm2d if "x" in case.shape else nn.BatchNorm1d)(case.channels).to(case.device)


def _in_dtype(make: Make) -> Make:
    # torch's group and layer norm are fastest with parameters of the input's type, and on GPUs run only so
    return lambda case: make(case).to(case.device, case.dtype)


def _naive(name: str) -> list[Implementation]:
    def make(case: Case) -> nn.Module:
        return NAIVE[name](case.channels, groups(case)).to(case.device)

    def compiled(case: Case) -> nn.Module:
        torch.compiler.reset()  # else the few variants that a function may have are soon used up by other shapes
        return cast("nn.Module", torch.compile(make(case), dynamic=False, fullgraph=True))

    return [
        Implementation(f"naive {name}", name, make),
        Implementation(f"compiled naive {name}", name, compiled, _no_compiler),
    ]


def _no_compiler(case: Case) -> str:
    if case.device == "cuda":
        return "" if importlib.util.find_spec("triton") else "torch.compile needs Triton on a GPU"
    compilers = (os.environ.get("CXX") or "g++", "clang++", "c++")
    return "" if any(map(shutil.which, compilers)) else "torch.compile needs a C++ compiler on a CPU"


def _torchs() -> list[Implementation]:
    last = "layer_norm_channels"
    return [
        Implementation("nn.BatchNorm2d", "batch_norm", _batch_norm),
        Implementation("nn.GroupNorm", "group_norm", _in_dtype(lambda case: nn.GroupNorm(groups(case), case.channels))),
        Implementation("nn.GroupNorm(1)", "layer_norm", _in_dtype(lambda case: nn.GroupNorm(1, case.channels))),
        Implementation("F.layer_norm", last, _in_dtype(lambda case: LayerNormByPermute(case.channels))),
        Implementation("F.layer_norm and back", last, _in_dtype(lambda case: LayerNormByPermute(case.channels, True))),
    ]


def _peers() -> list[Implementation]:
    torchrl = "averages the variance, with Bessel's factor from N alone, and gives float32 for bfloat16"
    keras = "keeps averages for training and for eval apart, and gives float32 or bfloat16 by its own dtype policy"
    last = "layer_norm_channels"
    return [
        Implementation("torchrl", "batch_renorm", peers.torchrl_renorm, peers.no_torchrl, torchrl),
        Implementation("keras", "batch_renorm", peers.KerasRenorm, peers.no_keras, keras),
        Implementation("liger-kernel", "group_norm", peers.liger_groups(groups), peers.no_liger_groups),
        Implementation("liger-kernel(1)", "layer_norm", peers.liger_groups(lambda _: 1), peers.no_liger_groups),
        Implementation("liger-kernel by permute", last, peers.LigerLayerNormByPermute, peers.no_liger),
    ]


IMPLEMENTATIONS: dict[str, Implementation] = {
    one.name: one
    for many in (
        map(_ours, normzoo.names()),
        _torchs(),
        *(_naive(name) for name in NAIVE if name != "none"),
        _peers(),
    )
    for one in many
}
