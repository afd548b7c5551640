"""Timing: paired and interleaved, synchronized with the device, raw samples kept."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

Step = Callable[[], object]

SAMPLE_MS = 2.0  # a sample repeats the step until it lasts this long, so that the clock's grain is nothing
PLATEAU = 0.05  # warm-up ends when the newer half of its samples is this close to the older half
WARM_UP_S = 0.1, 1.0  # at least and at most


class Clock(Protocol):
    """Times a step repeated ``count`` times, in ms for all of them."""

    def __call__(self, step: Step, count: int) -> float:
        """Run and time."""
        ...


def cpu_clock(step: Step, count: int) -> float:
    """Time on the monotonic clock; CPU work is done when the call returns."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) * 1e3


def cuda_clock(step: Step, count: int) -> float:
    """Time between two events on the stream, of a device that was idle: its work, and its waiting for launches."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(count):
        step()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


@dataclass(frozen=True)
class Pairs:
    """Samples of two steps taken in turn, ms per step; sample i of both was taken one after the other."""

    candidate: list[float]
    reference: list[float]

    def ratios(self) -> list[float]:
        """Give candidate / reference, pair by pair: a machine that slows down slows both."""
        return [one / other for one, other in zip(self.candidate, self.reference, strict=True)]


def time_pairs(candidate: Step, reference: Step, clock: Clock, pairs: int) -> Pairs:
    """Warm both up, then time them in turn, the first of a pair changing each time."""
    counts = [max(1, round(SAMPLE_MS / warm_up(step, clock))) for step in (candidate, reference)]
    samples: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs):
        for which in (0, 1) if number % 2 else (1, 0):
            step = (candidate, reference)[which]
            samples[which].append(clock(step, counts[which]) / counts[which])
    return Pairs(*samples)


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
