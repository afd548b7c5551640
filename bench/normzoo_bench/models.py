"""Models by name: the small built-in ones, and ``timm/NAME`` for every model that timm has.

Each is built with batch norm; the trainer converts it, so that the same seed gives every normalizer the same weights.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from normzoo_bench.errors import UsageError
from normzoo_suites.errors import suggest

Shape = tuple[int, int, int]
_BUILDERS: dict[str, Callable[[Shape, int], nn.Module]] = {}


def model_names() -> dict[str, str]:
    """Give the built-in models, each with a line about it."""
    return {name: (builder.__doc__ or "").partition("\n")[0] for name, builder in _BUILDERS.items()}


def build(name: str, shape: Shape, classes: int) -> nn.Module:
    """Build a model for images of (C, H, W) and a number of classes, with fresh weights.

    Raises:
        UsageError: for an unknown name, or a timm model that cannot be built for such images.

    """
    if name.startswith("timm/"):
        return _timm(name.removeprefix("timm/"), shape, classes)
    if name not in _BUILDERS:
        raise UsageError(f"unknown model {name!r}; {suggest(name, _BUILDERS)}, timm/NAME")
    return _BUILDERS[name](shape, classes)


def _timm(name: str, shape: Shape, classes: int) -> nn.Module:
    import timm  # seconds to import, and only timm's own models need it

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {', '.join('timm/' + one for one in near)}?" if near else "timm.list_models() names all"
        raise UsageError(f"timm has no model {name!r}; {hint}")
    options: dict[str, Any] = {"num_classes": classes, "in_chans": shape[0]}
    # models of a fixed input size must be told it; the others do not know the option
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
        if config is not None and config.fixed_input_size:
            options["img_size"] = shape[1]
        model: nn.Module = timm.create_model(name, **options)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        size = "x".join(map(str, shape))
        raise UsageError(f"timm/{name} cannot be built for {size} images: {error}; try dataset=…(size=224)") from error
    return model


def _register(name: str) -> Callable[[Callable[[Shape, int], nn.Module]], Callable[[Shape, int], nn.Module]]:
    def add(builder: Callable[[Shape, int], nn.Module]) -> Callable[[Shape, int], nn.Module]:
        _BUILDERS[name] = builder
        return builder

    return add


@_register("mlp")
def mlp(shape: Shape, classes: int) -> nn.Module:
    """Three hidden layers of 96 on the flat pixels."""
    channels, height, width = shape
    layers: list[nn.Module] = [nn.Flatten()]
    for wide_in in (channels * height * width, 96, 96):
        layers += [nn.Linear(wide_in, 96, bias=False), nn.BatchNorm1d(96), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(96, classes))


@_register("small_convnet")
def small_convnet(shape: Shape, classes: int) -> nn.Module:
    """Three 3×3 convolutions of 16, 32 and 64 channels, the last two of stride 2, then the mean over space."""
    layers: list[nn.Module] = []
    for channels_in, channels, stride in ((shape[0], 16, 1), (16, 32, 2), (32, 64, 2)):
        layers += [_conv(channels_in, channels, stride), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


@_register("resnet20")
def resnet20(shape: Shape, classes: int) -> nn.Module:
    """The CIFAR ResNet of He et al. 2016 (arXiv:1512.03385, section 4.2) with 20 layers, parameter-free shortcuts."""
    return CifarResNet(shape[0], classes, blocks=3)


class CifarResNet(nn.Module):
    """ResNet for 32×32 images: three stages of 16, 32 and 64 channels, ``blocks`` each; depth is 6·blocks + 2."""

    def __init__(self, channels: int, classes: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(channels, 16, 1), nn.BatchNorm2d(16), nn.ReLU())
        layers, wide_in = [], 16
        for wide, stride in ((16, 1), (32, 2), (64, 2)):
            for index in range(blocks):
                layers.append(_Block(wide_in, wide, 1 if index else stride))
                wide_in = wide
        self.stages = nn.Sequential(*layers)
        self.head = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Give logits [N, classes] for x [N, C, H, W]."""
        features: Tensor = self.stages(self.stem(x)).mean((2, 3))
        logits: Tensor = self.head(features)
        return logits


class _Block(nn.Module):
    def __init__(self, wide_in: int, wide: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(wide_in, wide, stride), nn.BatchNorm2d(wide)
        self.conv2, self.norm2 = _conv(wide, wide, 1), nn.BatchNorm2d(wide)
        self.stride, self.more = stride, wide - wide_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        # option A: every second pixel, and zeros for the channels that are new
        shortcut = F.pad(
            x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2)
        )
        return F.relu(y + shortcut)


def _conv(wide_in: int, wide: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(wide_in, wide, 3, stride, padding=1, bias=False)
