"""The timer, with a clock and steps that are made up: what is counted, in what order, and what is not."""

from __future__ import annotations

import statistics

from normzoo_bench import timing
from normzoo_bench.timing import pairs as pairs_of


class FakeClock:
    """Each step takes the time it is labelled with; every call is written down."""

    def __init__(self) -> None:
        self.calls = []
        self.factor = 1.0

    def __call__(self, step, count):
        self.calls.append((step.name, count))
        return step.ms * count * self.factor


class FakeStep:
    def __init__(self, name, ms):
        self.name, self.ms = name, ms

    def __call__(self):
        raise AssertionError("only the clock runs a step")


def pairs(candidate_ms, reference_ms, clock=None, count=8):
    clock = clock or FakeClock()
    return timing.time_pairs(FakeStep("candidate", candidate_ms), FakeStep("reference", reference_ms), clock, count)


def test_samples_are_times_per_step():
    timed = pairs(0.1, 0.2)
    assert timed.candidate == [0.1] * 8
    assert timed.reference == [0.2] * 8
    assert timed.ratios() == [0.5] * 8


def test_the_two_are_timed_in_turn_and_each_is_first_half_of_the_time():
    clock = FakeClock()
    pairs(1.0, 1.0, clock)
    timed = [name for name, _ in clock.calls[-16:]]
    firsts = timed[::2]
    assert all(set(timed[i : i + 2]) == {"candidate", "reference"} for i in range(0, 16, 2))
    assert firsts.count("candidate") == 4


def test_short_steps_are_repeated_until_a_sample_is_long_enough():
    clock = FakeClock()
    pairs(0.01, 5.0, clock)
    repeats = dict(clock.calls[-2:])
    assert repeats["candidate"] * 0.01 >= pairs_of.SAMPLE_MS * 0.99
    assert repeats["reference"] == 1


def test_a_machine_that_slows_down_leaves_the_ratio_alone():
    clock = FakeClock()

    def slower(step, count):
        clock.factor *= 1.01
        return clock(step, count)

    ratios = pairs(2.0, 1.0, slower, count=31).ratios()
    assert abs(statistics.median(ratios) - 2.0) < 0.03


def test_warm_up_is_not_counted_and_lasts_until_the_time_is_level():
    times = iter([50.0, 40.0, 30.0, 20.0, 10.0, *[5.0] * 100])
    seen = []

    def clock(_step, _count):
        seen.append(next(times))
        return seen[-1]

    assert timing.warm_up(FakeStep("any", 0), clock) == 5.0
    assert seen[-1] == 5.0


def test_warm_up_of_a_step_that_never_levels_ends():
    times = iter(range(1, 10**6))
    timing.warm_up(FakeStep("any", 0), lambda _step, _count: float(next(times)))
    assert next(times) < 100  # 1 + 2 + … ms until a second is over


def test_the_cpu_clock_times_all_repetitions():
    ran = []
    assert timing.cpu_clock(lambda: ran.append(1), 7) > 0
    assert len(ran) == 7
