"""Inputs whose mean is far from zero, where float32 loses what float64 keeps."""

from __future__ import annotations

import torch
from torch import Tensor

from normzoo.contract._probe import build, distance, draw, require
from normzoo.registry import Card

MEAN = 11111.0
"""In standard deviations of 1. Not a round number: float32 sums keep multiples of a power of 2 and lose the others."""

TRAINED = (16, (28, 28))
"""Samples and space: 12,500 values per channel, so that a sum in one float32 is off, even if 4 threads share it."""

EVALUATED = (8, (7, 7))
"""Fewer: what sums over a batch does so in training, and what sums over a sample does there, too."""

SPREAD = 1e-3  # ratio of standard deviations
ELEMENTS = 1e-2  # ten times the step between float32 numbers at this mean; a sound float32 kernel stays within 4e-3
ROUNDING = 1e-5  # besides, of the largest output: in eval it is large while running means are still on their way


def check_large_means_do_no_harm(card: Card) -> None:
    """In float32 and at a mean of 10,000 standard deviations the output is that of float64, in either memory layout."""
    for training, (samples, space) in ((True, TRAINED), (False, EVALUATED)):
        x = draw(samples, space=space, dtype=torch.float32, mean=MEAN)
        expected = _output(card, x.double(), training)
        for layout in (torch.contiguous_format, torch.channels_last):
            y = _output(card, x.contiguous(memory_format=layout), training)
            spread, gap = _spread(y, expected), distance(y, expected)
            allowed = ELEMENTS + ROUNDING * expected.abs().max().item()
            require(
                spread <= SPREAD and gap <= allowed,
                f"{'training' if training else 'eval'} of {str(layout).removeprefix('torch.')} float32 input with mean "
                f"{MEAN:g} and standard deviation 1 gives a standard deviation that is off by {spread:.1e} of itself, "
                f"and elements by {gap:.1e}; subtract the mean before squaring (E[x²] − E[x]² cancels), and sum in "
                "parts or in float64",
            )


def _output(card: Card, x: Tensor, training: bool) -> Tensor:
    """Give the output in the dtype of x; for eval after steps on such values, or they would be outliers."""
    module = build(card, x.dtype)
    for seed in range(0 if training else 3):
        module(draw(*x.shape[:1], space=tuple(x.shape[2:]), dtype=torch.float32, seed=seed, mean=MEAN).to(x.dtype))
    with torch.no_grad():
        y: Tensor = module.train(training)(x)
    return y


def _spread(y: Tensor, expected: Tensor) -> float:
    """Give by how much of itself the standard deviation of a channel is off, for the channel where it is most."""
    axes = [0, *range(2, y.dim())]
    off = (y.double().std(axes) / expected.std(axes) - 1).abs().max().item()
    return off if off == off else float("inf")
