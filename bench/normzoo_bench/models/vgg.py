"""A plain VGG: no shortcuts, so that nothing but the norm layers keeps the scale through the depth."""

from __future__ import annotations

from torch import nn

from normzoo_bench.models.layers import conv3x3, draw_as_he
from normzoo_bench.models.registry import Shape, register

STAGES = ((32,), (64,), (128, 128), (256, 256), (256, 256))
"""Channels of the convolutions before each pool: VGG-11's (arXiv:1409.1556, table 1, column A), half as wide."""


@register("vgg")
def vgg(shape: Shape, classes: int) -> nn.Module:
    """The eight convolutions and five max pools of VGG-11, half as wide, then the mean over space and one layer.

    Pools round up, so that images of any size fit: from 32×32 the last two convolutions see 2×2 positions, from the
    digits' 8×8 the last four see one, where a statistic has a single value per sample.
    """
    layers: list[nn.Module] = []
    channels_in = shape[0]
    for stage in STAGES:
        for channels in stage:
            layers += [conv3x3(channels_in, channels), nn.BatchNorm2d(channels), nn.ReLU()]
            channels_in = channels
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, classes))
    draw_as_he(model)
    return model
