"""Parts that kernels of group norm and layer norm share: a strided tile's moments, their merge, a chunk's groups.

A tile is ROWS × COLUMNS values, of which the columns lie side by side in memory and the rows ``stride`` values apart.
All arithmetic is float32. No E[x²] − E[x]²: means and centred squares are merged by Chan's formula, everywhere.
"""

# Triton comes without types, and a jitted function's arguments have none that a type checker knows.
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"
# ruff: noqa: N803  # capitals are Triton's custom for compile-time arguments

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

FUSED = {"enable_fp_fusion": True}  # a·b + c in one rounding; said at every launch, since Triton's default changes


class LayoutError(ValueError):
    """The memory layout or type is not what a kernel was written for: the caller should have taken another path."""


def check_type(name: str, x: Tensor) -> None:
    """Require a type that is computed in float32.

    Raises:
        LayoutError: for any other.

    """
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise LayoutError(f"{name} must be float32, bfloat16 or float16, got {x.dtype}; compute it without Triton")


@triton.jit
def merged(mean, squares, count, AXIS: tl.constexpr):
    """Merge moments along an axis (Chan et al. 1983): mean, squares Σ(x−mean)² and count of values, each a tile.

    The mean is taken twice: the second time from its distance to the first, which leaves no rounding of a large mean.
    """
    total = tl.maximum(tl.sum(count, AXIS), 1.0)  # padding has no values, and 0/0 would spread
    rough = tl.sum(mean * count, AXIS) / total
    whole = rough + tl.sum((mean - tl.expand_dims(rough, AXIS)) * count, AXIS) / total
    distance = mean - tl.expand_dims(whole, AXIS)
    return whole, tl.sum(squares + count * distance * distance, AXIS)


@triton.jit
def column_moments(x, rows, stride, within, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Give mean and Σ(x−mean)² of each column over ``rows`` rows from x on; ``within`` [COLUMNS] masks columns.

    Welford's update runs in every place of the tile by itself, one step per tile, so that the loop has no reduction
    and no barrier; the tile's rows are merged once, at the end.
    """
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    offsets = row[:, None].to(tl.int64) * stride + column[None, :]
    mean = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    squares = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    for first in range(0, rows, ROWS):
        here = (first + row < rows)[:, None] & within[None, :]
        start = x + tl.cast(first, tl.int64) * stride
        tile = tl.load(start + offsets, mask=here, other=0.0, eviction_policy="evict_last").to(tl.float32)
        away = tile - mean
        mean = tl.where(here, mean + away * (1.0 / (first // ROWS + 1)), mean)
        squares = tl.where(here, squares + away * (tile - mean), squares)
    count = ((rows - row + ROWS - 1) // ROWS).to(tl.float32)  # values seen in a place of each row: its tiles
    return merged(mean, squares, count[:, None], 0)


@triton.jit
def place(program, CHANNELS: tl.constexpr, WIDTH: tl.constexpr, PARTS: tl.constexpr):
    """Give a program's chunk, part and sample: neighbours read neighbouring channels of the same rows."""
    chunks = (CHANNELS + WIDTH - 1) // WIDTH
    rest = program // chunks
    return program % chunks, rest % PARTS, (rest // PARTS).to(tl.int64)


@triton.jit
def table(
    chunk, CHANNELS: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr, MEMBERS: tl.constexpr
):
    """Give a chunk's channels and which are real [COLUMNS], its groups and which are real [MEMBERS], who is in which.

    A table of members serves every C and number of groups: neither need be a power of 2.
    """
    column, group = tl.arange(0, COLUMNS), tl.arange(0, MEMBERS)
    channel = chunk * WIDTH + column
    within = (column < WIDTH) & (channel < CHANNELS)
    member = within[:, None] & ((column // SIZE)[:, None] == group[None, :])
    first = chunk * (WIDTH // SIZE)
    return channel, within, first + group, (group < WIDTH // SIZE) & (first + group < CHANNELS // SIZE), member


@triton.jit
def spread(of_group, member):
    """Give each channel its group's value."""
    return tl.sum(tl.where(member, of_group[None, :], 0.0), 1)


@triton.jit
def gathered(of_channel, member):
    """Give each group the sum of its channels' values."""
    return tl.sum(tl.where(member, of_channel[:, None], 0.0), 0)
