"""How the Triton kernels cut their work: pure arithmetic, all that is to be tuned in one place.

The numbers are those of an H100 or H200: 132 multiprocessors, 65,536 registers each, an L2 cache of 50 MB.
They were reasoned, not measured.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

MULTIPROCESSORS = 132
SECTOR = 32  # bytes: the least that is fetched from memory; of a narrower row the rest is wasted
LINE = 128  # bytes: a wider row gains nothing
# A program reads its chunk twice, and the second time it should find it in L2. Of 50 MB, the two halves of the chip
# leave about 32 to such reuse; with one program on each multiprocessor that is 32 MB / 132 = 248 KB for each.
CACHED = 248 * 1024
# With three small programs on each: 32 MB / 396 = 84 KB. Above it, 16 warps of about 80 registers per thread
# (16 × 32 × 80 = 40,960 of 65,536) leave room for one program only, which keeps its chunk in L2.
CACHED_BY_THREE = 84 * 1024
WORTH_A_PROGRAM = 16 * 1024  # bytes: below it a program's start costs more than its reads
# Two running values (float32) and the tile itself: with 16 values of each, the compiler takes about 80 registers of a
# thread forward and 100 backward. Forward, three programs of 256 threads fit, with 32 bytes of bfloat16 under way per
# thread: 24 KB, and 4.3 TB/s × 0.7 µs / 132 are 23 KB.
PER_THREAD = 16
MEMBERSHIP = 8192  # largest (channels × groups) table of a program: 32 values per thread, for a moment
MERGED = 4096  # most partial statistics that one program merges


class GroupPlan(NamedTuple):
    """How group norm's kernels cut [N, S, C]: chunks of whole groups, parts of rows, tiles of a chunk's rows."""

    width: int  # channels of a chunk: whole groups
    parts: int  # programs that share a chunk's rows; 1 means that one program sees all of them
    part_rows: int  # rows of a part, the last one's may be fewer
    tile_rows: int
    columns: int  # width, up to a power of 2
    members: int  # groups of a chunk, up to a power of 2
    warps: int


class LayerPlan(NamedTuple):
    """How channel-wise layer norm's kernels cut [N, C, S]: blocks of positions, tiles of channels."""

    tile_rows: int  # channels of a tile
    columns: int  # positions of a block
    align: int  # the largest power of 2, at most 16, that divides S: how wide loads may be
    warps: int


@lru_cache(maxsize=1024)
def group_plan(samples: int, space: int, channels: int, groups: int, itemsize: int, tensors: int) -> GroupPlan:
    """Cut [samples, space, channels] for kernels that read ``tensors`` tensors of ``itemsize`` bytes twice."""
    size = channels // groups  # channels of a group
    row, chunk = size * itemsize, space * size * itemsize * tensors  # bytes of one group: of a row, of all rows
    # Fewer groups than fill a sector would waste what is fetched
    least = min(groups, power_of_2(-(-SECTOR // row)))

    def programs(k: int) -> int:
        return samples * -(-groups // k)

    def widened(k: int) -> bool:
        wanted = k * row <= LINE and k * chunk <= CACHED and programs(k) >= MULTIPROCESSORS
        small = k * chunk <= 2 * WORTH_A_PROGRAM and programs(k) >= 4 * MULTIPROCESSORS
        return (wanted or small) and _table(k, size) <= MEMBERSHIP

    together = _doubled(least, groups, widened)
    if programs(together) >= MULTIPROCESSORS or together * chunk < 2 * WORTH_A_PROGRAM:
        warps = 16 if together * chunk > CACHED_BY_THREE else 8
        return _group_tiles(space, together, size, 1, warps)
    # Rows are split over programs. The second read is another program's anyway, so a full line's width costs nothing
    together = _doubled(least, groups, lambda k: k * row <= LINE and _table(k, size) <= MEMBERSHIP)
    parts = -(-4 * MULTIPROCESSORS // max(1, programs(together)))
    most = min(together * chunk // WORTH_A_PROGRAM, MERGED // power_of_2(together))
    return _group_tiles(space, together, size, max(1, min(parts, most)), 8)


def _group_tiles(space: int, together: int, size: int, parts: int, warps: int) -> GroupPlan:
    """Cut ``parts`` parts of a chunk of ``together`` groups into tiles; a part is a whole number of tiles."""
    columns, part_rows = power_of_2(together * size), -(-space // parts)
    tile_rows = min(max(1, warps * 32 * PER_THREAD // columns), power_of_2(part_rows))
    part_rows = -(-part_rows // tile_rows) * tile_rows
    warps = _warps(tile_rows * columns, warps)
    return GroupPlan(
        together * size, -(-space // part_rows), part_rows, tile_rows, columns, power_of_2(together), warps
    )


@lru_cache(maxsize=1024)
def layer_plan(samples: int, channels: int, space: int, itemsize: int) -> LayerPlan:
    """Cut [samples, channels, space] into blocks of neighbouring positions: a line of them, fewer to fill the chip."""
    columns = LINE // itemsize
    while columns * itemsize > SECTOR and samples * -(-space // columns) < 2 * MULTIPROCESSORS:
        columns //= 2
    columns = min(columns, power_of_2(space))
    tile_rows = min(max(1, 8 * 32 * PER_THREAD // columns), power_of_2(channels))
    align = min(16, space & -space) if space else 16
    return LayerPlan(tile_rows, columns, align, _warps(tile_rows * columns, 8))


def power_of_2(number: int) -> int:
    """Give the smallest power of 2 that is at least the number, and at least 1."""
    return 1 << max(0, number - 1).bit_length()


def _doubled(least: int, most: int, allowed: Callable[[int], bool]) -> int:
    """Double from ``least`` while that is allowed and not above ``most``."""
    while least * 2 <= most and allowed(least * 2):
        least *= 2
    return least


def _table(together: int, size: int) -> int:
    return power_of_2(together * size) * power_of_2(together)


def _warps(values: int, most: int) -> int:
    """Give a tile's warps: at least 8 values per thread, which are one vector of a narrow type."""
    return max(1, min(most, power_of_2(values // (32 * 8))))
