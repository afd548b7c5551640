"""The gate before every speed: a layer that is wrong has no speed worth publishing."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""By the input's type, the error that passes; a fraction of the largest value, or of 1 where all are smaller."""


def error_vs_float64(layer: nn.Module, x: Tensor, backward: bool) -> float:
    """Give the largest error of a layer's output, and of its gradients, against its own float64 copy.

    Weight and bias are drawn at random and the input's mean is moved, so that nothing is right by chance. The layer
    itself is left as it was: copies are called. What is wrong in float64 too is the contract kit's to find.
    """
    single = _drawn(copy.deepcopy(layer))
    exact = copy.deepcopy(single).double()
    moved = (x.detach() * 1.5 + 0.5).requires_grad_(backward)
    doubled = moved.detach().double().requires_grad_(backward)
    # of mere noise, what flows back through the statistics is about nothing, and could as well be left out
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x.device) + 0.5 * moved.detach() + 1
    found, wanted = (_results(one, given, gradient, backward) for one, given in ((single, moved), (exact, doubled)))
    return max((_relative(a, b) for a, b in zip(found, wanted, strict=True)), default=0.0)


def _drawn(layer: nn.Module) -> nn.Module:
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=draw).to(parameter))
    return layer


def _results(layer: nn.Module, x: Tensor, gradient: Tensor, backward: bool) -> list[Tensor]:
    if not backward:
        with torch.no_grad():
            return [layer(x)]
    y = layer(x)
    # like the input in layout, too: a gradient in another layout takes another path
    gradients = torch.autograd.grad(y, [x, *layer.parameters()], gradient.to(y), allow_unused=True)
    return [y, *(one for one in gradients if one is not None)]


def _relative(found: Tensor, wanted: Tensor) -> float:
    if found.numel() == 0:
        return 0.0
    difference = (found.detach().double() - wanted.detach()).abs().max()
    return float(difference / wanted.detach().abs().max().clamp(min=1))
