"""The forward kernels of `triton_groups`. Programs are numbered chunk first, then part of rows, then sample.

CHANNELS and SIZE are those of a sample and of a group; WIDTH, PARTS, ROWS, COLUMNS and MEMBERS are a GroupPlan's.
Offsets of samples and rows are 64-bit: a batch may hold more than 2³¹ values.
"""

# Triton comes without types, and a jitted function's arguments have none that a type checker knows.
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"
# ruff: noqa: N803  # capitals are Triton's custom for compile-time arguments

from __future__ import annotations

import triton
import triton.language as tl

from normzoo.kernels.triton_tiles import column_moments, merged, place, spread, table


@triton.jit
def group_moments(x, rows, within, member, CHANNELS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Give mean and Σ(x−mean)² [MEMBERS] over ``rows`` rows from x on."""
    mean, squares = column_moments(x, rows, CHANNELS, within, ROWS, COLUMNS)
    count = tl.where(member, rows, 0).to(tl.float32)
    return merged(mean[:, None], tl.where(member, squares[:, None], 0.0), count, 0)


@triton.jit
def moments_of_parts(
    x,
    means,
    squares,
    space,
    part_rows,
    CHANNELS: tl.constexpr,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    PARTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    MEMBERS: tl.constexpr,
):
    """Write mean and centred squares [N, PARTS, groups] of each part of rows."""
    chunk, part, sample = place(tl.program_id(0), CHANNELS, WIDTH, PARTS)
    _, within, group, real, member = table(chunk, CHANNELS, SIZE, WIDTH, COLUMNS, MEMBERS)
    rows = tl.minimum(part_rows, space - part * part_rows)
    start = x + (sample * space + part * part_rows) * CHANNELS + chunk * WIDTH
    mean, square = group_moments(start, rows, within, member, CHANNELS, ROWS, COLUMNS)
    at = (sample * PARTS + part) * (CHANNELS // SIZE) + group
    tl.store(means + at, mean, mask=real)
    tl.store(squares + at, square, mask=real)


@triton.jit
def merged_parts(
    means,
    squares,
    sample,
    group,
    real,
    space,
    part_rows,
    GROUPS: tl.constexpr,
    SIZE: tl.constexpr,
    PARTS: tl.constexpr,
    PARTS_UP: tl.constexpr,
):
    """Give mean and Σ(x−mean)² [MEMBERS] of a sample from those of its parts; PARTS_UP is a power of 2."""
    part = tl.arange(0, PARTS_UP)
    rows = tl.maximum(tl.minimum(part_rows, space - part * part_rows), 0)
    at = (sample * PARTS + part)[:, None] * GROUPS + group[None, :]
    here = (part < PARTS)[:, None] & real[None, :]
    mean, square = tl.load(means + at, mask=here, other=0.0), tl.load(squares + at, mask=here, other=0.0)
    return merged(mean, square, (rows * SIZE).to(tl.float32)[:, None], 0)


@triton.jit
def normalize(
    x,
    y,
    weight,
    bias,
    mean_out,
    rstd_out,
    means,
    squares,
    space,
    part_rows,
    eps,
    CHANNELS: tl.constexpr,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    PARTS: tl.constexpr,
    PARTS_UP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    MEMBERS: tl.constexpr,
):
    """Write y, and mean and rstd [N, groups]; with one part take the statistics here, else merge the parts'."""
    program = tl.program_id(0)
    if PARTS > 1:  # the statistics' last rows are still in cache: begin with them
        program = tl.num_programs(0) - 1 - program
    chunk, part, sample = place(program, CHANNELS, WIDTH, PARTS)
    channel, within, group, real, member = table(chunk, CHANNELS, SIZE, WIDTH, COLUMNS, MEMBERS)
    rows = tl.minimum(part_rows, space - part * part_rows)
    start = (sample * space + part * part_rows) * CHANNELS + chunk * WIDTH
    if PARTS == 1:
        mean, square = group_moments(x + start, rows, within, member, CHANNELS, ROWS, COLUMNS)
    else:
        mean, square = merged_parts(
            means, squares, sample, group, real, space, part_rows, CHANNELS // SIZE, SIZE, PARTS, PARTS_UP
        )
    rstd = 1.0 / tl.sqrt_rn(square / (space * SIZE).to(tl.float32) + eps)
    if part == 0:
        tl.store(mean_out + sample * (CHANNELS // SIZE) + group, mean, mask=real)
        tl.store(rstd_out + sample * (CHANNELS // SIZE) + group, rstd, mask=real)
    centre = spread(mean, member)
    scale = spread(rstd, member) * tl.load(weight + channel, mask=within, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=within, other=0.0).to(tl.float32)
    row = tl.arange(0, ROWS)
    offsets = row[:, None] * CHANNELS + tl.arange(0, COLUMNS)[None, :]
    tiles = (rows + ROWS - 1) // ROWS
    for done in range(0, tiles):  # backwards: what was read last is nearest
        first = (tiles - 1 - done) * ROWS
        here = (first + row < rows)[:, None] & within[None, :]
        at = start + tl.cast(first, tl.int64) * CHANNELS
        tile = tl.load(x + at + offsets, mask=here, other=0.0, eviction_policy="evict_first").to(tl.float32)
        # centred first: x·scale − mean·scale would round at the size of a large mean
        tile = (tile - centre[None, :]) * scale[None, :] + shift[None, :]
        tl.store(y + at + offsets, tile.to(y.dtype.element_ty), mask=here, eviction_policy="evict_first")
