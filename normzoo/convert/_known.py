"""The norm layers that are known, by the class whose ``forward`` they run; timm and torchvision are not imported.

The class that *defines* forward decides, so that subclasses which change only their construction are known too, and
those which change the computation are not.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from normzoo.convert._layout import Layout

Kind = Literal["batch", "group", "channels", "other"]
"""What a layer computes: batch norm, group norm, layer norm over the channels, or nothing that the zoo has."""


def _spread(module: str, kind: Kind, layout: Layout, names: str) -> dict[str, tuple[Kind, Layout]]:
    return {f"{module}.{name}": (kind, layout) for name in names.split()}


KNOWN: dict[str, tuple[Kind, Layout]] = {
    **_spread("torch.nn.modules.batchnorm", "batch", Layout.FIRST, "_BatchNorm SyncBatchNorm"),
    **_spread("torch.nn.modules.instancenorm", "other", Layout.FIRST, "_InstanceNorm"),
    **_spread("torch.nn.modules.normalization", "group", Layout.FIRST, "GroupNorm"),
    **_spread("torch.nn.modules.normalization", "channels", Layout.LAST, "LayerNorm"),
    **_spread("torch.nn.modules.normalization", "other", Layout.LAST, "RMSNorm"),
    **_spread("torchvision.models.convnext", "channels", Layout.FIRST_WRITTEN_LAST, "LayerNorm2d"),
    **_spread("timm.layers.norm", "group", Layout.FIRST, "GroupNorm GroupNorm1"),
    **_spread("timm.layers.norm", "channels", Layout.LAST, "LayerNorm LayerNormFp32"),
    **_spread("timm.layers.norm", "channels", Layout.FIRST_WRITTEN_LAST, "LayerNorm2d LayerNorm2dFp32 LayerNormExp2d"),
    **_spread("timm.layers.norm", "other", Layout.LAST, "RmsNorm RmsNormFp32 SimpleNorm SimpleNormFp32"),
    **_spread("timm.layers.norm", "other", Layout.FIRST, "RmsNorm2d RmsNorm2dFp32 SimpleNorm2d SimpleNorm2dFp32"),
    **_spread("timm.layers.norm_act", "batch", Layout.FIRST, "BatchNormAct2d SyncBatchNormAct"),
    **_spread("timm.layers.norm_act", "group", Layout.FIRST, "GroupNormAct GroupNorm1Act"),
    **_spread("timm.layers.norm_act", "channels", Layout.LAST, "LayerNormAct LayerNormActFp32"),
    **_spread("timm.layers.norm_act", "channels", Layout.FIRST_WRITTEN_LAST, "LayerNormAct2d LayerNormAct2dFp32"),
    **_spread("timm.layers.norm_act", "other", Layout.LAST, "RmsNormAct RmsNormActFp32"),
    **_spread("timm.layers.norm_act", "other", Layout.FIRST, "RmsNormAct2d RmsNormAct2dFp32"),
    **_spread(
        "timm.layers.filter_response_norm", "other", Layout.FIRST, "FilterResponseNormAct2d FilterResponseNormTlu2d"
    ),
}

_FROZEN = "its statistics are frozen; unfreeze it first (timm.layers.unfreeze_batch_norm_2d)"
_NO_CHANNELS = "it normalizes neighbouring channels and does not say how many there are"

REFUSED: dict[str, str] = {
    "timm.layers.evo_norm": "its activation is part of its formula and cannot be kept without it",
    "timm.layers.inplace_abn": "its activation runs inside its kernel and cannot be kept without it",
    "timm.layers.split_batchnorm": "it is several batch norms for parts of the batch",
    "timm.layers.norm_act.FrozenBatchNormAct2d": _FROZEN,
    "torchvision.ops.misc.FrozenBatchNorm2d": _FROZEN,
    "torch.nn.modules.normalization.LocalResponseNorm": _NO_CHANNELS,
    "torch.nn.modules.normalization.CrossMapLRN2d": _NO_CHANNELS,
}
"""Norm layers that cannot be converted, by module or class, with the reason."""

REFUSED_PARENTS: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.TransformerEncoderLayer, "its fast path reads the weights of its norms and computes layer norm by itself"),
    (nn.parallel.DistributedDataParallel, "it has taken note of the model's parameters; convert the model before"),
    (torch.jit.ScriptModule, "it is compiled by torch.jit, so its norm layers cannot be replaced; convert it before"),
)
"""Modules in which a replaced norm layer would not be called."""

LEFT_ALONE: dict[str, str] = {
    "timm.layers.grn.GlobalResponseNorm": "ConvNeXt V2's competition between channels, beside the block's layer norm",
    "torchvision.transforms.transforms.Normalize": "shifts and scales images by constants",
    "torchvision.transforms.v2._misc.Normalize": "shifts and scales images by constants",
}
"""Modules that have "norm" in their name and are no norm layers, with the reason."""

TORCH_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def definer(module: nn.Module) -> str:
    """Name the class whose forward a module runs, with its module."""
    found = next(cls for cls in type(module).__mro__ if "forward" in vars(cls))
    return f"{found.__module__}.{found.__qualname__}"


def refusal(module: nn.Module) -> str | None:
    """Give the reason for which a module is refused by its class, if there is one."""
    for parent, reason in REFUSED_PARENTS:
        if isinstance(module, parent):
            return reason
    name = definer(module)
    return next((reason for part, reason in REFUSED.items() if f"{name}.".startswith(f"{part}.")), None)


def looks_like_norm(module: nn.Module) -> bool:
    """Tell whether a module that is not known might be a norm layer: then it must not be passed over in silence.

    A module with "norm" in its name that holds learned children (a ConvNormAct, a NormMlp) is a part of the model.
    """
    if definer(module) in LEFT_ALONE or any(True for child in module.children() for _ in child.parameters()):
        return False
    return isinstance(module, TORCH_NORMS) or any("norm" in cls.__name__.lower() for cls in type(module).__mro__)
