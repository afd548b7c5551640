"""The backward kernels of `triton_groups`. Programs are numbered chunk first, then part of rows, then sample.

CHANNELS and SIZE are those of a sample and of a group; WIDTH, PARTS, ROWS, COLUMNS and MEMBERS are a GroupPlan's.
Offsets of samples and rows are 64-bit: a batch may hold more than 2³¹ values.
"""

# Triton comes without types, and a jitted function's arguments have none that a type checker knows.
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"
# ruff: noqa: N803  # capitals are Triton's custom for compile-time arguments

from __future__ import annotations

import triton
import triton.language as tl

from normzoo.kernels.triton_tiles import gathered, place, spread, table


@triton.jit
def column_sums(gradient, x, centre, rows, within, CHANNELS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Give Σg and Σg·(x−mean) of each channel over ``rows`` rows."""
    row = tl.arange(0, ROWS)
    offsets = row[:, None] * CHANNELS + tl.arange(0, COLUMNS)[None, :]
    plain = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    weighed = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    for first in range(0, rows, ROWS):
        here = (first + row < rows)[:, None] & within[None, :]
        start = tl.cast(first, tl.int64) * CHANNELS
        g = tl.load(gradient + start + offsets, mask=here, other=0.0, eviction_policy="evict_last").to(tl.float32)
        tile = tl.load(x + start + offsets, mask=here, other=0.0, eviction_policy="evict_last").to(tl.float32)
        plain += g
        weighed += g * (tile - centre[None, :])
    return tl.sum(plain, 0), tl.sum(weighed, 0)


@triton.jit
def sums_of_part(
    gradient,
    x,
    weight,
    centre,
    rstd,
    of_channels,
    here,
    rows,
    channel,
    within,
    member,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write Σg and Σg·x̂ of a part, row ``here`` of [2, N·PARTS, C]; give each group's Σγ·Σg and Σγ·Σg·x̂ [MEMBERS]."""
    plain, weighed = column_sums(gradient, x, centre, rows, within, CHANNELS, ROWS, COLUMNS)
    weighed *= rstd
    everything = (tl.num_programs(0) // ((CHANNELS + WIDTH - 1) // WIDTH)).to(tl.int64) * CHANNELS  # N·PARTS·C
    at = here * CHANNELS + channel
    tl.store(of_channels + at, plain, mask=within)
    tl.store(of_channels + everything + at, weighed, mask=within)
    return gathered(plain * weight, member), gathered(weighed * weight, member)


@triton.jit
def sums_of_parts(
    gradient,
    x,
    mean,
    rstd,
    weight,
    of_channels,
    of_groups,
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
    """Write the sums of each part of rows: of_channels [2, N·PARTS, C] and of_groups [2, N·PARTS, groups]."""
    chunk, part, sample = place(tl.program_id(0), CHANNELS, WIDTH, PARTS)
    channel, within, group, real, member = table(chunk, CHANNELS, SIZE, WIDTH, COLUMNS, MEMBERS)
    rows = tl.minimum(part_rows, space - part * part_rows)
    start = (sample * space + part * part_rows) * CHANNELS + chunk * WIDTH
    statistic = sample * (CHANNELS // SIZE) + group
    centre = spread(tl.load(mean + statistic, mask=real, other=0.0), member)
    scale = spread(tl.load(rstd + statistic, mask=real, other=0.0), member)
    gamma = tl.load(weight + channel, mask=within, other=0.0).to(tl.float32)
    here = sample * PARTS + part
    plain, weighed = sums_of_part(
        gradient + start, x + start, gamma, centre, scale, of_channels, here, rows, channel, within, member,
        CHANNELS, WIDTH, ROWS, COLUMNS,
    )  # fmt: skip
    everything = (tl.num_programs(0) // ((CHANNELS + WIDTH - 1) // WIDTH)).to(tl.int64) * (CHANNELS // SIZE)
    tl.store(of_groups + here * (CHANNELS // SIZE) + group, plain, mask=real)
    tl.store(of_groups + everything + here * (CHANNELS // SIZE) + group, weighed, mask=real)


@triton.jit
def added_parts(of_groups, sample, group, real, GROUPS: tl.constexpr, PARTS: tl.constexpr, PARTS_UP: tl.constexpr):
    """Give a sample's sums [MEMBERS] from those of its parts; PARTS_UP is a power of 2."""
    part = tl.arange(0, PARTS_UP)
    at = (sample * PARTS + part)[:, None] * GROUPS + group[None, :]
    return tl.sum(tl.load(of_groups + at, mask=(part < PARTS)[:, None] & real[None, :], other=0.0), 0)


@triton.jit
def differentiate(
    gradient,
    x,
    mean,
    rstd,
    weight,
    of_x,
    of_channels,
    of_groups,
    space,
    part_rows,
    CHANNELS: tl.constexpr,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    PARTS: tl.constexpr,
    PARTS_UP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    MEMBERS: tl.constexpr,
):
    """Write of_x = rstd·(γg − A − x̂·B), A and B the means of γg and γg·x̂ over a group.

    With one part take the sums here, and write of_channels; else add the parts'.
    """
    program = tl.program_id(0)
    if PARTS > 1:  # the sums' last rows are still in cache: begin with them
        program = tl.num_programs(0) - 1 - program
    chunk, part, sample = place(program, CHANNELS, WIDTH, PARTS)
    channel, within, group, real, member = table(chunk, CHANNELS, SIZE, WIDTH, COLUMNS, MEMBERS)
    rows = tl.minimum(part_rows, space - part * part_rows)
    start = (sample * space + part * part_rows) * CHANNELS + chunk * WIDTH
    statistic = sample * (CHANNELS // SIZE) + group
    centre = spread(tl.load(mean + statistic, mask=real, other=0.0), member)
    of_group = tl.load(rstd + statistic, mask=real, other=0.0)
    scale = spread(of_group, member)
    gamma = tl.load(weight + channel, mask=within, other=0.0).to(tl.float32)
    if PARTS == 1:
        plain, weighed = sums_of_part(
            gradient + start, x + start, gamma, centre, scale, of_channels, sample, rows, channel, within, member,
            CHANNELS, WIDTH, ROWS, COLUMNS,
        )  # fmt: skip
    else:
        everything = (tl.num_programs(0) // ((CHANNELS + WIDTH - 1) // WIDTH)).to(tl.int64) * (CHANNELS // SIZE)
        plain = added_parts(of_groups, sample, group, real, CHANNELS // SIZE, PARTS, PARTS_UP)
        weighed = added_parts(of_groups + everything, sample, group, real, CHANNELS // SIZE, PARTS, PARTS_UP)
    values = (space * SIZE).to(tl.float32)
    gamma *= scale
    level = spread(plain * of_group / values, member)
    slope = spread(weighed * of_group * of_group / values, member)
    row = tl.arange(0, ROWS)
    offsets = row[:, None] * CHANNELS + tl.arange(0, COLUMNS)[None, :]
    tiles = (rows + ROWS - 1) // ROWS
    for done in range(0, tiles):  # backwards: what was read last is nearest
        first = (tiles - 1 - done) * ROWS
        here = (first + row < rows)[:, None] & within[None, :]
        at = start + tl.cast(first, tl.int64) * CHANNELS
        g = tl.load(gradient + at + offsets, mask=here, other=0.0, eviction_policy="evict_first").to(tl.float32)
        tile = tl.load(x + at + offsets, mask=here, other=0.0, eviction_policy="evict_first").to(tl.float32)
        g = g * gamma[None, :] - level[None, :] - (tile - centre[None, :]) * slope[None, :]
        tl.store(of_x + at + offsets, g.to(of_x.dtype.element_ty), mask=here, eviction_policy="evict_first")
