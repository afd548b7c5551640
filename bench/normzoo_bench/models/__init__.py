"""Models by name: the built-in ones, a file per family, and ``timm/NAME`` for every model that timm has.

Each is built with its own norm, batch norm or (the transformer) layer norm; the trainer converts it, so that the same
seed gives every normalizer the same weights.
"""

from __future__ import annotations

from torch import nn

from normzoo_bench.errors import UsageError
from normzoo_bench.models import convnet, mlp, resnet, vgg, vit  # noqa: F401  # each adds its models to the registry
from normzoo_bench.models.from_timm import build_from_timm, hint
from normzoo_bench.models.registry import BUILDERS, Shape
from normzoo_suites.errors import show, suggest

__all__ = ["Shape", "build", "model_names", "scale_weights"]


def model_names() -> dict[str, str]:
    """Give the built-in models, each with a line about it."""
    return {name: (builder.__doc__ or "").partition("\n")[0] for name, builder in BUILDERS.items()}


def scale_weights(model: nn.Module, gain: float) -> None:
    """Multiply the weights of convolutions and linear layers, and no others."""
    if gain == 1:
        return
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            layer.weight.data.mul_(gain)


def build(name: str, shape: Shape, classes: int) -> nn.Module:
    """Build a model for images of (C, H, W) and a number of classes, with fresh weights.

    Raises:
        UsageError: for an unknown name, or a model that cannot be built for such images.

    """
    if name.startswith("timm/"):
        return build_from_timm(name.removeprefix("timm/"), shape, classes)
    if name not in BUILDERS:
        raise UsageError(f"unknown model {show(name)}; {suggest(name, BUILDERS)}, timm/NAME{hint(name)}")
    return BUILDERS[name](shape, classes)
