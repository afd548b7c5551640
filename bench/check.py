"""The check before every time: an implementation is held against the paper's formula in float64."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from cases import Case, parameters
from naive import NAIVE
from normzoo_bench.speed.gate import TOLERANCE, error_vs_float64
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
    except Exception as reason:  # other packages, on devices that they were not tried on: any class can come
        if implementation.ours:
            raise
        return f"{implementation} raised {type(reason).__name__}: {str(reason).partition(chr(10))[0]}"
    return verdict(implementation.name, error, case)


def verdict(name: str, error: float, case: Case) -> str:
    """Say that an error is too large, or nothing."""
    if error <= TOLERANCE[case.dtype]:
        return ""
    where = f"{case.dtype_name} {case.layout} {case.shape}"
    return f"{name} is off by {error:.2g} against float64, more than {TOLERANCE[case.dtype]:g} ({where})"


def results(layer: nn.Module, x: Tensor, gradient: Tensor | None) -> list[Tensor]:
    """Give the output for x [N, C, *space] and, for a gradient like it, the gradients of input, weight and bias.

    Weight and bias are drawn at random, the same for every implementation.
    """
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter, centre in zip(parameters(layer), (1.0, 0.0), strict=True):
            # rounded, so that every type holds the same
            values = torch.randn(parameter.shape, generator=draw).mul(0.5).add(centre).bfloat16()
            parameter.copy_(values.to(parameter))
    layer.train(gradient is not None)
    if gradient is None:
        with torch.no_grad():
            return [layer(x)]
    y = layer(x.requires_grad_())
    return [y.detach(), *torch.autograd.grad(y, [x, *parameters(layer)], torch.empty_like(y).copy_(gradient))]


def largest_error(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Give the largest error, each as a fraction of its tensor's largest value, or of 1; nan where there is one."""
    errors = [
        (one.double() - other).abs().max() / other.abs().max().clamp(min=1)
        for one, other in zip(found, wanted, strict=True)
    ]
    return float(torch.stack(errors).max())  # not Python's max, which can lose a nan


def moved(x: Tensor) -> Tensor:
    """Give x a mean and a scale that are not 0 and 1, and that drift, so that nothing is right by chance."""
    drift = torch.linspace(0, 1, len(x), device=x.device, dtype=x.dtype)
    return x * 1.5 + 0.5 + drift.view(-1, *[1] * (x.dim() - 1))


def load(noise: Tensor, x: Tensor) -> Tensor:
    """Give the gradient that comes in: one that goes along with x, and whose mean is not 0.

    Of mere noise, what flows back through the statistics is about nothing, and could as well be left out.
    """
    return noise + 0.5 * x + 1


def _error(implementation: Implementation, case: Case, training: bool) -> float:
    layer = implementation.make(case)
    if implementation.computes not in NAIVE:  # a plugin, of which there is no second version
        return error_vs_float64(layer.train(training), case.draw(0), training)
    x = moved(case.draw(2))
    found = results(layer, x, load(case.draw(4), x) if training else None)
    return largest_error(found, _expected(implementation.computes, case, training))


@functools.lru_cache(maxsize=2)  # large: a case's implementations follow one another
def _expected(name: str, case: Case, training: bool) -> list[Tensor]:
    exact = NAIVE[name](case.channels, groups(case)).to(case.device).double()
    x = moved(case.draw(2))
    return results(exact, x.double(), load(case.draw(4), x).double() if training else None)
