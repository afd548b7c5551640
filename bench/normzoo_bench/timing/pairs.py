"""Two steps timed in turn, after both are warm: what slows the machine down slows both."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from normzoo_bench.timing.clocks import Clock, Step

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


def time_pairs(candidate: Step, reference: Step, clock: Clock, pairs: int | None = None) -> Pairs:
    """Warm both up, then time them in turn, the first of a pair changing each time.

    Args:
        candidate: one step.
        reference: the other.
        clock: times them.
        pairs: how many; None for as many as fit ``SECONDS``, within ``PAIRS``.

    """
    warm = [warm_up(step, clock) for step in (candidate, reference)]
    counts = [max(1, round(SAMPLE_MS / ms)) for ms in warm]
    wanted = pairs or pairs_that_fit(sum(ms * count for ms, count in zip(warm, counts, strict=True)))
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


def warm_up(step: Step, clock: Clock) -> float:
    """Run a step until its time is level (or ``WARM_UP_S`` is over); give the last times' median in ms."""
    least, most = (seconds * 1e3 for seconds in WARM_UP_S)
    times: list[float] = []
    while True:
        times.append(clock(step, 1))
        half = len(times) // 2
        if sum(times) >= most or (sum(times) >= least and half >= 3 and _level(times[-2 * half :], half)):
            return statistics.median(times[-max(half, 1) :])


def _level(times: list[float], half: int) -> bool:
    older, newer = statistics.median(times[:half]), statistics.median(times[half:])
    return abs(newer - older) <= PLATEAU * older
