"""Working through a tensor in parts that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

PIECE = 2**19  # values per part: few enough for a cache, enough to outweigh the calls

SMALL = 2**14  # values per sample, up to which samples are better worked on together


def parts(samples: int, channels: int, space: int) -> Iterator[tuple[slice, slice]]:
    """Cut [N, C, S] into slices of samples, or of one sample's positions, of ``PIECE`` values or one position."""
    size, width = max(1, PIECE // (channels * space)), max(1, PIECE // channels)
    for first in range(0, samples, size):
        for left in range(0, space, width):
            yield slice(first, first + size), slice(left, left + width)


class Scratch:
    """Memory that every part uses again: new memory each time would cost more than the arithmetic in it."""

    def __init__(self, count: int, channels: int, dtype: torch.dtype) -> None:
        self._memory = torch.empty(count, max(PIECE, channels), dtype=dtype)

    def __call__(self, number: int, like: Tensor) -> Tensor:
        """Give a buffer of a part's shape."""
        return self._memory[number, : like.numel()].view(like.shape)

    def wide(self, number: int, part: Tensor) -> Tensor:
        """Give a part, or its copy in a buffer if it is narrower than that."""
        return part if part.dtype == self._memory.dtype else self(number, part).copy_(part)


def scale_and_shift(into: Tensor, shift: Tensor, values: Tensor, slope: Tensor, scratch: Tensor) -> None:
    """Write shift + values·slope, rounded once to the type of ``into``; scratch may be shift."""
    if into.dtype == values.dtype:
        torch.addcmul(shift, values, slope, out=into)
    else:
        into.copy_(torch.addcmul(shift, values, slope, out=scratch))
