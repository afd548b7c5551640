"""The check before every time: an implementation is held against the paper's formula in float64."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from cases import Case, parameters
from naive import NAIVE
from normzoo_bench.gate import TOLERANCE, error_vs_float64
from rivals import Implementation, groups


@functools.lru_cache(maxsize=1024)
def fault(implementation: Implementation, case: Case, training: bool) -> str:
    """Say how an implementation's results are off, or nothing.

    In training these are the first step's output and gradients of input, weight and bias, with a mean and a scale that
    are not the running statistics'; in eval the output at the initial ones. Later steps are not compared: rivals move
    their statistics by other definitions.

    Raises:
        Exception: whatever a layer of ours raises; a rival's is its fault, in words.

    """
    try:
        error = _error(implementation, case, training)
    except Exception as reason:  # other packages on devices that they were not tried on here: any class can come
        if implementation.ours:
            raise
        return f"{implementation} raised {type(reason).__name__}: {str(reason).partition(chr(10))[0]}"
    if error <= TOLERANCE[case.dtype]:
        return ""
    return f"{implementation} is off by {error:.2g} against float64, more than {TOLERANCE[case.dtype]:g}"


def _error(implementation: Implementation, case: Case, training: bool) -> float:
    layer = implementation.make(case)
    if implementation.computes not in NAIVE:  # a plugin, of which there is no second version
        return error_vs_float64(layer.train(training), case.draw(0), training)
    found = _results(layer, case, _input(case), training)
    wanted = _expected(implementation.computes, case, training)
    return max(_relative(one, other) for one, other in zip(found, wanted, strict=True))


@functools.lru_cache(maxsize=2)  # large: a case's implementations follow one another
def _expected(name: str, case: Case, training: bool) -> list[Tensor]:
    return _results(NAIVE[name](case.channels, groups(case)).to(case.device).double(), case, _input(case).double(), training)


def _input(case: Case) -> Tensor:
    return case.draw(2) * 1.5 + 0.5


def _results(layer: nn.Module, case: Case, x: Tensor, training: bool) -> list[Tensor]:
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter, centre in zip(parameters(layer), (1.0, 0.0), strict=True):
            # rounded, so that every type holds the same
            values = torch.randn(parameter.shape, generator=draw).mul(0.5).add(centre).bfloat16()
            parameter.copy_(values.to(parameter))
    layer.train(training)
    if not training:
        with torch.no_grad():
            return [layer(x)]
    y = layer(x.requires_grad_())
    gradient = torch.empty_like(y).copy_(case.draw(4))
    return [y.detach(), *torch.autograd.grad(y, [x, *parameters(layer)], gradient)]


def _relative(found: Tensor, wanted: Tensor) -> float:
    """Give the largest error as a fraction of the largest value, or of 1; nan where there is one."""
    return float((found.double() - wanted).abs().max() / wanted.abs().max().clamp(min=1))
