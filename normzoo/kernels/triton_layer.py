"""Layer norm over C at each position of a contiguous [N, C, S] tensor, without the two transposes of a permute.

A program takes neighbouring positions of one sample and walks over their channels twice; the second time they are in
cache. The gradients of weight and bias are sums of each program's partial sums, without atomics.
"""

# Triton comes without types, and a jitted function's arguments have none that a type checker knows.
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"
# ruff: noqa: N803  # capitals are Triton's custom for compile-time arguments

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from normzoo.kernels.triton_plans import layer_plan
from normzoo.kernels.triton_tiles import FUSED, LayoutError, check_type, column_moments


@triton.jit
def block(space, COLUMNS: tl.constexpr):
    """Give a program's sample, its positions [COLUMNS], and which of them are real."""
    program = tl.program_id(0)
    blocks = (space + COLUMNS - 1) // COLUMNS
    position = program % blocks * COLUMNS + tl.arange(0, COLUMNS)
    return (program // blocks).to(tl.int64), program % blocks * COLUMNS, position < space


@triton.jit
def normalize(
    x,
    y,
    weight,
    bias,
    mean_out,
    rstd_out,
    channels,
    units,
    eps,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ALIGN: tl.constexpr,
):
    """Write y, and mean and rstd [N, S]. Offsets are 64-bit: one sample's volume may hold more than 2³¹ values."""
    space = units * ALIGN  # S, so written that the compiler knows a divisor and loads vectors
    sample, first, within = block(space, COLUMNS)
    column, row = tl.arange(0, COLUMNS), tl.arange(0, ROWS)
    start = sample * channels * space + first
    mean, squares = column_moments(x + start, channels, space, within, ROWS, COLUMNS)
    rstd = 1.0 / tl.sqrt_rn(squares / channels.to(tl.float32) + eps)
    tl.store(mean_out + sample * space + first + column, mean, mask=within)
    tl.store(rstd_out + sample * space + first + column, rstd, mask=within)
    offsets = row[:, None].to(tl.int64) * space + column[None, :]
    tiles = (channels + ROWS - 1) // ROWS
    for done in range(0, tiles):  # backwards: what was read last is nearest
        channel = (tiles - 1 - done) * ROWS + row
        here = (channel < channels)[:, None] & within[None, :]
        at = start + tl.cast((tiles - 1 - done) * ROWS, tl.int64) * space
        scale = tl.load(weight + channel, mask=channel < channels, other=0.0).to(tl.float32)
        shift = tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32)
        tile = tl.load(x + at + offsets, mask=here, other=0.0, eviction_policy="evict_first").to(tl.float32)
        tile = (tile - mean[None, :]) * rstd[None, :] * scale[:, None] + shift[:, None]
        tl.store(y + at + offsets, tile.to(y.dtype.element_ty), mask=here, eviction_policy="evict_first")


@triton.jit
def position_means(gradient, x, weight, centre, channels, space, within, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Give the means over channels of γg and γg·(x−mean) at each position."""
    row = tl.arange(0, ROWS)
    offsets = row[:, None].to(tl.int64) * space + tl.arange(0, COLUMNS)[None, :]
    plain = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    weighed = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    for first in range(0, channels, ROWS):
        here = (first + row < channels)[:, None] & within[None, :]
        at = tl.cast(first, tl.int64) * space
        gamma = tl.load(weight + first + row, mask=first + row < channels, other=0.0).to(tl.float32)
        g = tl.load(gradient + at + offsets, mask=here, other=0.0, eviction_policy="evict_last").to(tl.float32)
        tile = tl.load(x + at + offsets, mask=here, other=0.0, eviction_policy="evict_last").to(tl.float32)
        g *= gamma[:, None]
        plain += g
        weighed += g * (tile - centre[None, :])
    return tl.sum(plain, 0) / channels.to(tl.float32), tl.sum(weighed, 0) / channels.to(tl.float32)


@triton.jit
def differentiate(
    gradient,
    x,
    mean,
    rstd,
    weight,
    of_x,
    of_channels,
    channels,
    units,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ALIGN: tl.constexpr,
):
    """Write of_x = rstd·(γg − A − x̂·B), A and B the means of γg and γg·x̂; and Σg, Σg·x̂ [2, programs, C]."""
    space = units * ALIGN  # S, so written that the compiler knows a divisor and loads vectors
    sample, first, within = block(space, COLUMNS)
    column, row = tl.arange(0, COLUMNS), tl.arange(0, ROWS)
    start = sample * channels * space + first
    centre = tl.load(mean + sample * space + first + column, mask=within, other=0.0)
    scale = tl.load(rstd + sample * space + first + column, mask=within, other=0.0)
    level, slope = position_means(gradient + start, x + start, weight, centre, channels, space, within, ROWS, COLUMNS)
    slope *= scale  # against x̂
    offsets = row[:, None].to(tl.int64) * space + column[None, :]
    plain = of_channels + tl.program_id(0).to(tl.int64) * channels
    weighed = plain + tl.num_programs(0).to(tl.int64) * channels
    tiles = (channels + ROWS - 1) // ROWS
    for done in range(0, tiles):  # backwards: what was read last is nearest
        channel = (tiles - 1 - done) * ROWS + row
        here = (channel < channels)[:, None] & within[None, :]
        at = start + tl.cast((tiles - 1 - done) * ROWS, tl.int64) * space
        gamma = tl.load(weight + channel, mask=channel < channels, other=0.0).to(tl.float32)
        g = tl.load(gradient + at + offsets, mask=here, other=0.0, eviction_policy="evict_first").to(tl.float32)
        tile = tl.load(x + at + offsets, mask=here, other=0.0, eviction_policy="evict_first").to(tl.float32)
        tile = (tile - centre[None, :]) * scale[None, :]  # x̂
        tl.store(plain + channel, tl.sum(g, 1), mask=channel < channels)
        tl.store(weighed + channel, tl.sum(g * tile, 1), mask=channel < channels)
        g = (g * gamma[:, None] - level[None, :] - tile * slope[None, :]) * scale[None, :]
        tl.store(of_x + at + offsets, g.to(of_x.dtype.element_ty), mask=here, eviction_policy="evict_first")


def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize contiguous x [N, C, *space] by the mean and biased variance over C at each position.

    Shapes: weight and bias [C]; gives y like x, and mean and rstd = 1/√(var + eps), float32 [N, S].

    Raises:
        LayoutError: for another memory layout, or a type other than float32, bfloat16 and float16.

    """
    _check("x", x)
    y, space = torch.empty_like(x), math.prod(x.shape[2:])
    mean, rstd = x.new_empty((2, x.shape[0], space), dtype=torch.float32)
    grid, units, options = _launch(x, space)
    with torch.cuda.device_of(x):
        normalize[grid](x, y, weight, bias, mean, rstd, x.shape[1], units, float(eps), **options)
    return y, mean, rstd


def backward(gradient: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of x (its dtype and layout), weight and bias (float32 [C]) from the one of y.

    Shapes: gradient [N, C, *space] and contiguous, like x; mean and rstd as ``forward`` gave them.

    Raises:
        LayoutError: for a gradient or x in another memory layout, or of a type that ``forward`` refuses.

    """
    _check("x", x)
    _check("the gradient", gradient)
    of_x, space = torch.empty_like(x), math.prod(x.shape[2:])
    grid, units, options = _launch(x, space)
    of_channels = x.new_empty((2, *grid, x.shape[1]), dtype=torch.float32)
    with torch.cuda.device_of(x):
        differentiate[grid](gradient, x, mean, rstd, weight, of_x, of_channels, x.shape[1], units, **options)
    of_bias, of_weight = of_channels.sum(1)
    return of_x, of_weight, of_bias


def _launch(x: Tensor, space: int) -> tuple[tuple[int], int, dict[str, Any]]:
    """Give the grid, S in units of its alignment, and the options that both kernels take."""
    plan = layer_plan(x.shape[0], x.shape[1], space, x.element_size())
    options = {"ROWS": plan.tile_rows, "COLUMNS": plan.columns, "ALIGN": plan.align, "num_warps": plan.warps}
    return (x.shape[0] * -(-space // plan.columns),), space // plan.align, options | FUSED


def _check(name: str, x: Tensor) -> None:
    check_type(name, x)
    if not x.is_contiguous():
        raise LayoutError(
            f"{name} must lie in memory as [N, C, S] (contiguous), got shape {tuple(x.shape)} with strides "
            f"{x.stride()}; bring it to that layout first"
        )
