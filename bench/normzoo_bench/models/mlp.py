"""Plain multilayer perceptrons: a statistic sees one value per sample, the fewest there can be."""

from __future__ import annotations

from torch import nn

from normzoo_bench.models.registry import Shape, register


@register("mlp")
def mlp(shape: Shape, classes: int) -> nn.Module:
    """Three hidden layers of 96 on the flat pixels."""
    return _perceptron(shape, classes, 3, nn.ReLU)


@register("mlp_sigmoid")
def mlp_sigmoid(shape: Shape, classes: int) -> nn.Module:
    """The same with sigmoids, as Ioffe and Szegedy 2015 have them on MNIST (arXiv:1502.03167, section 4.1)."""
    return _perceptron(shape, classes, 3, nn.Sigmoid)


@register("mlp_sigmoid_deep")
def mlp_sigmoid_deep(shape: Shape, classes: int) -> nn.Module:
    """Eight hidden layers of 96 with sigmoids, whose slope of at most 1/4 shrinks gradients from layer to layer."""
    return _perceptron(shape, classes, 8, nn.Sigmoid)


def _perceptron(shape: Shape, classes: int, hidden: int, activation: type[nn.Module]) -> nn.Module:
    channels, height, width = shape
    layers: list[nn.Module] = [nn.Flatten()]
    for wide_in in (channels * height * width, *[96] * (hidden - 1)):
        layers += [nn.Linear(wide_in, 96, bias=False), nn.BatchNorm1d(96), activation()]
    return nn.Sequential(*layers, nn.Linear(96, classes))
