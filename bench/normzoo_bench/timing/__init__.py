"""Timing: clocks that wait for the device, pairs of steps in turn, an emptied cache, and the machine's state."""

from normzoo_bench.timing.cache import Emptier
from normzoo_bench.timing.clocks import Clock, Step, clock_of, cold, cpu_clock, cuda_clock, synchronized_time
from normzoo_bench.timing.pairs import Pairs, pairs_that_fit, time_pairs, warm_up
from normzoo_bench.timing.stopwatch import Stopwatch
from normzoo_bench.timing.watched import watched_pairs

__all__ = [
    "Clock",
    "Emptier",
    "Pairs",
    "Step",
    "Stopwatch",
    "clock_of",
    "cold",
    "cpu_clock",
    "cuda_clock",
    "pairs_that_fit",
    "synchronized_time",
    "time_pairs",
    "warm_up",
    "watched_pairs",
]
