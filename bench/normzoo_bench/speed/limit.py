"""The limit: the fewest bytes that a layer must move, and how fast a copy moves them here."""

from __future__ import annotations

import functools

import torch

from normzoo import Card
from normzoo_bench.timing import clock_of

COPIED = 2**28
"""Bytes of the tensor that is copied to measure bandwidth: far more than any cache holds."""

_POOLED = {"forward": 3, "backward": 5, "eval": 2}
_WITHIN = {"forward": 2, "backward": 3, "eval": 2}


def fewest_passes(card: Card, direction: str) -> int:
    """Give the fewest times that a layer must read or write as many bytes as its input has.

    One whose statistics pool over samples must read its input twice, since the last sample moves what the first one is
    divided by: forward reads, reads and writes; backward reads gradient and input twice and writes. In eval it has
    running statistics, or needs three passes, too. One that pools within a sample, or nothing, needs its input on chip
    once: forward reads and writes, backward reads both and writes. Parameters are not counted, they are small.
    """
    across = bool({"batch", "rank"} & set(card.pools))
    if direction == "eval":
        return 2 if card.running_stats or not across else 3
    passes = _POOLED if across else _WITHIN
    return passes["forward"] + (passes["backward"] if direction == "forward_backward" else 0)


@functools.lru_cache(maxsize=4)
def copy_bytes_per_ms(device: str, threads: int = 1) -> float:
    """Measure the bandwidth of a copy in this process, bytes read and bytes written together; the best of ten."""
    source = torch.zeros(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    clock = clock_of(device)
    clock(lambda: target.copy_(source), 2)
    repeat = 10 if device == "cuda" else 1
    return 2 * COPIED / min(clock(lambda: target.copy_(source), repeat) / repeat for _ in range(10))
