"""The smallest convolutional net, for runs of seconds."""

from __future__ import annotations

from torch import nn

from normzoo_bench.models.layers import conv3x3
from normzoo_bench.models.registry import Shape, register


@register("small_convnet")
def small_convnet(shape: Shape, classes: int) -> nn.Module:
    """Three 3×3 convolutions of 16, 32 and 64 channels, the last two of stride 2, then the mean over space."""
    layers: list[nn.Module] = []
    for channels_in, channels, stride in ((shape[0], 16, 1), (16, 32, 2), (32, 64, 2)):
        layers += [conv3x3(channels_in, channels, stride), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))
