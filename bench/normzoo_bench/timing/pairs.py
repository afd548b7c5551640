"""Two steps timed in turn, after both are warm: what slows the machine down slows both."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import NamedTuple

from normzoo_bench.timing.clocks import Clock, Step

GRAIN_MS = 0.5  # while warming up a shorter sample is made longer
SAMPLE_MS = 2.0  # a sample repeats the step until it lasts this long, so that the clock's grain is nothing
PLATEAU = 0.05  # warm-up ends when the newer half of its samples is this close to the older half
WARM_UP_S = 0.1, 1.0  # at least and at most
PAIRS = 9, 101  # odd, so that a median is a sample: at least for a slow step, at most for a quick one
SECONDS = 1.0  # for the pairs, where so many fit


@dataclass(frozen=True)
class Pairs:
    """Samples of two steps taken in turn, ms per step; sample i of both was taken one after the other."""

    candidate: list[float]
    reference: list[float]

    def ratios(self) -> list[float]:
        """Give candidate / reference, pair by pair: a machine that slows down slows both."""
        return [one / other for one, other in zip(self.candidate, self.reference, strict=True)]


def time_pairs(
    candidate: Step, reference: Step, clock: Clock, pairs: int | None = None, sample_ms: float = SAMPLE_MS
) -> Pairs:
    """Warm both up, then time them in turn, the first of a pair changing each time.

    Args:
        candidate: one step.
        reference: the other.
        clock: times them.
        pairs: how many; None for as many as fit ``SECONDS``, within ``PAIRS``.
        sample_ms: how long a sample lasts at least; 0 for a single step.

    """
    warm = [warm_up(step, clock) for step in (candidate, reference)]
    counts = [max(1, round(sample_ms / one.ms)) for one in warm]
    wanted = pairs or pairs_that_fit(sum(one.wall_ms * count for one, count in zip(warm, counts, strict=True)))
    samples: tuple[list[float], list[float]] = ([], [])
    for number in range(wanted):
        for which in (0, 1) if number % 2 else (1, 0):
            step = (candidate, reference)[which]
            samples[which].append(clock(step, counts[which]) / counts[which])
    return Pairs(*samples)


def pairs_that_fit(pair_ms: float) -> int:
    """Give the number of pairs of this length that fit ``SECONDS``, odd and within ``PAIRS``."""
    least, most = PAIRS
    return min(max(round(SECONDS * 1e3 / pair_ms), least), most) | 1


class Warm(NamedTuple):
    """A step that is warm: its time, and what it takes on the wall, emptied caches and waiting among it, both in ms."""

    ms: float
    wall_ms: float


def warm_up(step: Step, clock: Clock) -> Warm:
    """Run a step until its time is level, or ``WARM_UP_S`` is over on the clock or on the wall.

    Short steps are repeated more and more often, so that there are few samples, and none is the clock's grain.
    """
    least, most = (seconds * 1e3 for seconds in WARM_UP_S)
    times: list[float] = []
    spent, count, began = 0.0, 1, time.perf_counter()
    while True:
        took = clock(step, count)
        times.append(took / count)
        spent += took
        wall = (time.perf_counter() - began) * 1e3
        half = len(times) // 2
        if max(spent, wall) >= most or (spent >= least and half >= 3 and _level(times[-2 * half :], half)):
            ms = statistics.median(times[-max(half, 1) :])
            return Warm(ms, max(ms, ms * wall / spent))
        if took < GRAIN_MS:
            count *= 2


def _level(times: list[float], half: int) -> bool:
    older, newer = statistics.median(times[:half]), statistics.median(times[half:])
    return abs(newer - older) <= PLATEAU * older
