"""Timing two steps while the machine is watched."""

from __future__ import annotations

from typing import Any, NamedTuple

from normzoo_bench.timing import machine
from normzoo_bench.timing.clocks import Clock, Step
from normzoo_bench.timing.pairs import SAMPLE_MS, Pairs, time_pairs
from normzoo_bench.timing.stopwatch import Stopwatch


class Watched(NamedTuple):
    """What was timed, and what a record keeps of the machine meanwhile: its states, ``throttled`` and ``timed_s``."""

    pairs: Pairs
    held: dict[str, Any]


def watched_pairs(candidate: Step, reference: Step, clock: Clock, device: str, sample_ms: float = SAMPLE_MS) -> Watched:
    """Time two steps in turn on a kind of device, as ``time_pairs`` does."""
    watch = Stopwatch(clock)
    before = machine.state(device)
    pairs = time_pairs(candidate, reference, watch, sample_ms=sample_ms)
    after = machine.state(device)
    return Watched(pairs, machine.told(before, after) | {"timed_s": round(watch.seconds, 4)})
