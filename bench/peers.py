"""Other packages' normalizers, each by a function that imports it, and the reasons why one cannot run here."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from cases import Case


def torchrl_renorm(case: Case) -> nn.Module:
    """Give torchrl's batch renorm with the zoo's limits and, like the zoo's, no warm-up."""
    modules = importlib.import_module("torchrl.modules")
    return cast("nn.Module", modules.BatchRenorm1d(case.channels, warmup_steps=0)).to(case.device)


class KerasRenorm(nn.Module):
    """keras' BatchNormalization(renorm=True) on its torch backend, with the zoo's limits and momentum."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        keras = importlib.import_module("keras")
        with keras.device("gpu" if case.device == "cuda" else "cpu"):
            self.inner = keras.layers.BatchNormalization(
                axis=1,
                epsilon=1e-5,
                renorm=True,
                renorm_clipping={"rmax": 3.0, "rmin": 1 / 3, "dmax": 5.0},
                renorm_momentum=0.99,
                # keras casts input to its compute dtype; variables of float32 are the zoo's choice, too
                dtype="mixed_bfloat16" if case.dtype == torch.bfloat16 else case.dtype_name,
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


def liger_groups(number: Callable[[Case], int]) -> Callable[[Case], nn.Module]:
    """Give a maker of liger-kernel's group norm with so many groups."""

    def make(case: Case) -> nn.Module:
        module = importlib.import_module("liger_kernel.transformers.group_norm")
        layer = module.LigerGroupNorm(case.channels, number(case), eps=1e-5, bias=False)
        return cast("nn.Module", layer).to(case.device, case.dtype)

    return make


class LigerLayerNormByPermute(nn.Module):
    """liger-kernel's layer norm over C, which is moved last; the result lies channels last."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        module = importlib.import_module("liger_kernel.transformers.layer_norm")
        self.inner = module.LigerLayerNorm(case.channels, eps=1e-5, bias=False)
        self.weight, self.bias = self.inner.weight, self.inner.bias
        self.to(case.device, case.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space]."""
        return cast("Tensor", self.inner(x.movedim(1, -1).contiguous()).movedim(-1, 1))


def no_torchrl(case: Case) -> str:
    """Say why torchrl cannot run, or nothing."""
    return _not_installed("torchrl")


def no_keras(case: Case) -> str:
    """Say why keras cannot run on torch, or nothing."""
    # keras reads it when it is imported
    if os.environ.setdefault("KERAS_BACKEND", "torch") != "torch":
        return f"keras runs on {os.environ['KERAS_BACKEND']}; set KERAS_BACKEND=torch"
    return _not_installed("keras")


def no_liger(case: Case) -> str:
    """Say why liger-kernel cannot run, or nothing."""
    return _not_installed("liger_kernel") or ("" if case.device == "cuda" else "liger_kernel needs a GPU")


def no_liger_groups(case: Case) -> str:
    """Say why liger-kernel's group norm cannot run, or nothing."""
    return no_liger(case) or ("" if "x" in case.shape else "liger_kernel's group norm needs positions")


def _not_installed(package: str) -> str:
    return "" if importlib.util.find_spec(package) else f"{package} is not installed"
