"""A plain multilayer perceptron: a statistic sees one value per sample, the fewest there can be."""

from __future__ import annotations

from torch import nn

from normzoo_bench.models.registry import Shape, register


@register("mlp")
def mlp(shape: Shape, classes: int) -> nn.Module:
    """Three hidden layers of 96 on the flat pixels."""
    channels, height, width = shape
    layers: list[nn.Module] = [nn.Flatten()]
    for wide_in in (channels * height * width, 96, 96):
        layers += [nn.Linear(wide_in, 96, bias=False), nn.BatchNorm1d(96), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(96, classes))
