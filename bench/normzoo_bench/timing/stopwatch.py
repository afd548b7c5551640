"""How much of a measurement was measuring."""

from __future__ import annotations

import time
from collections.abc import Callable

from normzoo_bench.timing.clocks import Clock, Step


class Stopwatch:
    """A clock that adds up what it has spent: warm-up and samples, and what a cold one needs between them."""

    def __init__(self, clock: Clock, now: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._now = clock, now
        self.seconds = 0.0

    def __call__(self, step: Step, count: int) -> float:
        """Time a step by the clock."""
        began = self._now()
        try:
            return self._clock(step, count)
        finally:
            self.seconds += self._now() - began
