"""The timer, with clocks, steps and devices that are made up: what is counted, in what order, and what is not."""

from __future__ import annotations

import statistics
from types import SimpleNamespace

import pytest
import torch

from normzoo_bench.timing import (
    Emptier,
    Stopwatch,
    clocks,
    cold,
    cpu_clock,
    machine,
    time_pairs,
    warm_up,
    watched_pairs,
)
from normzoo_bench.timing import pairs as protocol
from normzoo_bench.timing.cache import UNKNOWN, cache_bytes


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
    return time_pairs(FakeStep("candidate", candidate_ms), FakeStep("reference", reference_ms), clock, count)


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
    assert repeats["candidate"] * 0.01 >= protocol.SAMPLE_MS * 0.99
    assert repeats["reference"] == 1


@pytest.mark.parametrize(("ms", "expected"), [(0.001, 101), (7.0, 71), (400.0, 9)])
def test_there_are_as_many_pairs_as_fit_a_second_within_bounds_and_an_odd_number(ms, expected):
    assert len(pairs(ms, ms, count=None).candidate) == expected


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

    assert warm_up(FakeStep("any", 0), clock).ms == 5.0
    assert seen[-1] == 5.0


def test_warm_up_of_a_step_that_never_levels_ends():
    times = iter(range(1, 10**6))
    warm_up(FakeStep("any", 0), lambda _step, _count: float(next(times)))
    assert next(times) < 100  # 1 + 2 + … ms until a second is over


def test_the_cpu_clock_times_all_repetitions():
    ran = []
    assert cpu_clock(lambda: ran.append(1), 7) > 0
    assert len(ran) == 7


def test_pytest_benchmarks_timer_waits_for_the_gpu(fake_cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = clocks.synchronized_time()
    assert fake_cuda == [0.0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert clocks.synchronized_time() >= before
    assert fake_cuda == [0.0]


def test_a_cold_clock_empties_the_cache_before_every_repetition_and_does_not_count_it(monkeypatch):
    now, done = [0.0], []
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: now[0])

    def taking(what, seconds):
        def run():
            done.append(what)
            now[0] += seconds

        return run

    timed = cold(cpu_clock, taking("empty", 10.0))(taking("step", 0.002), 3)
    assert done == ["empty", "step"] * 3
    assert timed == pytest.approx(3 * 2.0)


class FakeEvent:
    """A CUDA event on a stream whose time is what was launched on it before."""

    stream = 0.0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = FakeEvent.stream

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return end.at - self.at


@pytest.fixture
def fake_cuda(monkeypatch):
    waits = []
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(FakeEvent.stream))
    monkeypatch.setattr(FakeEvent, "stream", 0.0)
    return waits


def launching(ms):
    def launch():
        FakeEvent.stream += ms

    return launch


def test_the_cuda_clock_waits_before_it_starts_and_counts_what_the_stream_has_done(fake_cuda):
    assert clocks.cuda_clock(launching(3.0), 4) == 12.0
    assert fake_cuda == [0.0]


def test_the_cold_cuda_clock_counts_the_steps_and_not_the_emptying_and_waits_once_for_all(fake_cuda):
    timed = cold(clocks.cuda_clock, launching(50.0))(launching(3.0), 4)
    assert timed == 12.0
    assert fake_cuda == [0.0, 4 * 53.0]


def test_a_stopwatch_adds_up_what_a_clock_has_spent_the_emptying_too():
    now = [0.0]

    def clock(_step, count):
        now[0] += 5.0
        return 1.0 * count

    watch = Stopwatch(clock, lambda: now[0])
    assert watch(FakeStep("any", 1.0), 3) == 3.0
    watch(FakeStep("any", 1.0), 1)
    assert watch.seconds == 10.0


def test_an_emptier_writes_twice_the_last_level_cache(monkeypatch):
    monkeypatch.setattr("normzoo_bench.timing.cache.cache_bytes", lambda _device: 1000)
    empty = Emptier("cpu")
    empty._buffer.fill_(7)
    empty()
    assert empty._buffer.numel() == 2000
    assert not empty._buffer.any()


def test_the_last_level_cache_is_the_largest_that_the_system_lists(tmp_path):
    for number, size in enumerate(["32K", "1024K", "32M", "nothing"][:3]):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        (folder / "size").write_text(f"{size}\n", encoding="ascii")
    assert cache_bytes("cpu", tmp_path) == 32 * 2**20
    assert cache_bytes("cpu", tmp_path / "none") == UNKNOWN


def test_a_gpu_is_throttled_when_a_limit_has_slowed_it_before_or_after():
    calm, hot = {"slowed_by": []}, {"slowed_by": ["hardware thermal slowdown"]}
    assert not machine.throttled(calm, calm)
    assert machine.throttled(hot, calm)
    assert machine.throttled(calm, hot)


def test_idleness_and_chosen_clocks_are_no_reasons_of_being_throttled():
    assert machine.reasons(0x1 | 0x2 | 0x100) == []
    assert machine.reasons(0x4 | 0x40) == ["power cap", "hardware thermal slowdown"]


@pytest.mark.parametrize(
    ("after", "slowed"),
    [
        ({"at": 10.0, "stolen_s": 5.0, "quota_stops": 3}, False),
        ({"at": 10.0, "stolen_s": 5.05, "quota_stops": 3}, False),
        ({"at": 10.0, "stolen_s": 5.5, "quota_stops": 3}, True),
        ({"at": 10.0, "stolen_s": 5.0, "quota_stops": 4}, True),
        ({"at": 10.0}, False),
    ],
)
def test_a_cpu_is_throttled_when_its_quota_was_used_up_or_its_host_took_a_hundredth(after, slowed):
    assert machine.throttled({"at": 0.0, "stolen_s": 5.0, "quota_stops": 3} if len(after) > 1 else {}, after) is slowed


def test_the_state_of_a_cpu_is_read_from_the_system_and_what_it_does_not_tell_is_left_out(tmp_path):
    ticks, quota = tmp_path / "stat", tmp_path / "cpu.stat"
    ticks.write_text("cpu 1 2 3 4 5 6 7 800 9 10\ncpu0 1\n", encoding="ascii")
    quota.write_text("usage_usec 5\nnr_throttled 12\n", encoding="ascii")
    found = machine._cpu(ticks, quota)
    assert found["quota_stops"] == 12
    assert found["stolen_s"] == pytest.approx(8.0, rel=0.5)  # a tick is a hundredth nearly everywhere
    assert set(machine._cpu(tmp_path / "a", tmp_path / "b")) <= {"load"}


class NvmlError(Exception):
    pass


def refused(_handle):
    raise NvmlError


# an NVML that knows one handle, and does not tell its power
FAKE_NVML = SimpleNamespace(
    NVML_CLOCK_SM=1,
    NVML_CLOCK_MEM=2,
    NVML_TEMPERATURE_GPU=0,
    NVMLError=NvmlError,
    nvmlDeviceGetClockInfo=lambda _handle, which: {1: 1980, 2: 2619}[which],
    nvmlDeviceGetPowerUsage=refused,
    nvmlDeviceGetTemperature=lambda _handle, _sensor: 41,
    nvmlDeviceGetCurrentClocksThrottleReasons=lambda _handle: 0x4,
)


def test_the_state_of_a_gpu_is_read_by_nvml_without_what_a_board_does_not_tell():
    found = machine._read(FAKE_NVML, object())
    assert found == {"sm_mhz": 1980, "memory_mhz": 2619, "celsius": 41, "slowed_by": ["power cap"]}


def test_the_machine_is_looked_at_before_the_warm_up_and_after_the_last_pair(monkeypatch):
    clock, states = FakeClock(), []

    def state(device):
        states.append((device, len(clock.calls)))
        return {"slowed_by": ["power cap"] if clock.calls else []}

    monkeypatch.setattr(machine, "state", state)
    timed, held = watched_pairs(FakeStep("candidate", 4.0), FakeStep("reference", 2.0), clock, "cuda")
    assert timed.ratios() == [2.0] * len(timed.candidate)
    assert states == [("cuda", 0), ("cuda", len(clock.calls))]
    assert held["throttled"] is True
    assert held["timed_s"] >= 0


def test_what_a_record_keeps_of_the_machine_has_no_time_of_day():
    told = machine.told({"at": 1.0, "load": 0.5}, {"at": 2.0, "load": 0.7})
    assert told == {"before": {"load": 0.5}, "after": {"load": 0.7}, "throttled": False}
