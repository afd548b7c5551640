"""Clocks: each times a step repeated, and waits until the device has done it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch

Step = Callable[[], object]


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


def synchronized_time() -> float:
    """Give the seconds of the monotonic clock, once a GPU, if there is one, has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def clock_of(device: str) -> Clock:
    """Give the clock of a kind of device, ``cpu`` or ``cuda``."""
    return cuda_clock if device == "cuda" else cpu_clock


def cold(clock: Clock, empty: Step) -> Clock:
    """Give a clock that times each repetition by itself, after ``empty``, which is not timed.

    On a GPU the device is still emptying its cache while the step is launched, so that little of the launch is timed.
    """
    return cold_cuda_clock(empty) if clock is cuda_clock else _cold_by(clock, empty)


def _cold_by(clock: Clock, empty: Step) -> Clock:
    def timed(step: Step, count: int) -> float:
        total = 0.0
        for _ in range(count):
            empty()
            total += clock(step, 1)
        return total

    return timed


def cold_cuda_clock(empty: Step) -> Clock:
    """Give the cold clock of a GPU, on which nothing waits between emptying and step."""

    def timed(step: Step, count: int) -> float:
        pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(count)]
        torch.cuda.synchronize()
        for start, end in pairs:
            empty()
            start.record()
            step()
            end.record()
        torch.cuda.synchronize()
        return sum(float(start.elapsed_time(end)) for start, end in pairs)

    return timed
