"""The measure `memory`: peaks that can be reckoned by hand, and the largest batch that fits."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

import normzoo
from normzoo_bench.result import CannotRun
from normzoo_bench.running.worker import run_job
from normzoo_bench.speed import memory, peaks
from normzoo_bench.speed.largest import largest_that_fits
from normzoo_suites import Cell
from normzoo_suites.metrics import METRICS
from normzoo_suites.settings import MemorySettings

MIB = 2**20
PAGE = 4096
WEIGHTS = 9 * (3 * 16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64) + 64 * 1000 + 1000
"""Of small_convnet with a norm of one weight and one bias per channel, and 1,000 classes."""


@pytest.fixture(autouse=True, scope="module")
def little_to_collect():
    """The measure collects garbage before each try, which takes longest over what other modules have loaded."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def cell(**changes):
    small = {"normalizer": "group_norm", "model": "small_convnet", "batch_size": 4, "image_size": 16}
    return MemorySettings.model_validate(small | changes)


def searched(**changes):
    return cell(find="largest_batch", **changes)


def run(settings):
    source = normzoo.card(settings.normalizer).source_hash
    return run_job((Cell("memory", 1, settings),), "", source)[0]


def test_the_peak_is_the_most_that_was_there_at_once():
    def step():
        first = torch.ones(MIB, dtype=torch.uint8)
        second = first + 1  # 2 MiB
        del first
        return second + 1  # 2 MiB again

    assert peaks.cpu_peak(step) == pytest.approx(2 * MIB, abs=PAGE)


def test_what_was_there_before_the_step_is_not_in_its_peak():
    there = torch.ones(2 * MIB)
    assert peaks.cpu_peak(lambda: there.add_(1).sum()) < PAGE


def test_the_peak_of_a_backward_pass_is_the_three_results_it_kept_and_two_gradients():
    x = torch.randn(64, 64, 64, requires_grad=True)

    def step():
        y = x.exp().exp().exp()  # each keeps its result
        y.backward(torch.ones(1).expand_as(y))  # a gradient that takes no room
        x.grad = None

    # y lives to the end; the second result goes only when from its gradient the first one's was made
    assert peaks.cpu_peak(step) == pytest.approx((3 + 2) * x.nbytes, abs=4 * PAGE)


def test_a_profiler_that_tells_of_no_memory_is_an_error_and_not_a_peak_of_nothing():
    with pytest.raises(RuntimeError, match=r"told of no memory"):
        peaks.cpu_peak(lambda: None)


@pytest.mark.parametrize(
    ("changes", "wanted"), [([], 0), ([-5], 0), ([3, -3, 2], 3), ([3, 4, -6, 5, -6], 7), ([-4, 5], 1)]
)
def test_the_highest_is_that_of_the_running_sum(changes, wanted):
    assert peaks.highest(changes) == wanted


class FakeCuda:
    """An allocator in bytes, in torch.cuda's words."""

    def __init__(self):
        self.now, self.most, self.emptied = 10 * MIB, 90 * MIB, 0

    def memory_allocated(self):
        return self.now

    def max_memory_allocated(self):
        return self.most

    def max_memory_reserved(self):
        return self.most + 2 * MIB

    def reset_peak_memory_stats(self):
        self.most = self.now

    def empty_cache(self):
        self.emptied += 1

    def synchronize(self):
        pass

    def get_allocator_backend(self):
        return "native"

    def get_device_properties(self, _index):
        return type("Properties", (), {"total_memory": 1024 * MIB})


def test_on_a_gpu_the_peak_is_above_what_is_allocated_and_older_peaks_are_forgotten(monkeypatch):
    fake = FakeCuda()
    for name in [name for name in dir(fake) if not name.startswith("_") and callable(getattr(fake, name))]:
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))

    def step():
        fake.most = max(fake.most, fake.now + 5 * MIB)

    found = peaks.peak_of(step, "cuda")
    assert found.above == 5 * MIB
    assert found.conditions["allocated_before_mib"] == 10
    assert found.conditions["reserved_mib"] == 17
    assert fake.emptied == 1


def test_the_model_is_weights_momentum_and_images():
    result = memory.measure(cell())
    images = 4 * 3 * 16 * 16 * 4 + 4 * 8
    assert result.metrics["model_mib"] * MIB == 2 * 4 * WEIGHTS + images
    assert result.conditions["optimizer_mib"] * MIB == 4 * WEIGHTS


def test_in_inference_there_is_no_optimizer_and_nothing_is_kept():
    result = memory.measure(cell(phase="inference"))
    assert set(result.metrics) == {"peak_mib", "model_mib"}
    assert result.metrics["model_mib"] * MIB == 4 * WEIGHTS + 4 * 3 * 16 * 16 * 4 + 4 * 8
    assert result.metrics["peak_mib"] < memory.measure(cell()).metrics["peak_mib"]


def test_gradients_belong_to_the_step():
    # where maps are tiny, they are most of it
    assert memory.measure(cell(batch_size=2, image_size=4)).metrics["peak_mib"] * MIB > 4 * WEIGHTS


def test_in_inference_one_image_on_a_map_of_one_position_is_enough():
    assert memory.measure(cell(normalizer="batch_norm", phase="inference", batch_size=1, image_size=4)).metrics


def test_no_gradient_is_there_before_the_step_that_is_weighed(monkeypatch):
    built, there = [], []
    model_of, peak_of = memory.model_of, memory.peak_of
    monkeypatch.setattr(memory, "model_of", lambda *args: built.append(model_of(*args)) or built[-1])

    def look(step, device):
        there.extend(one.grad for one in built[-1].parameters())
        return peak_of(step, device)

    monkeypatch.setattr(memory, "peak_of", look)
    memory.measure(cell())
    assert there
    assert all(gradient is None for gradient in there)


def test_a_step_takes_at_least_what_is_kept_for_backward():
    found = memory.measure(cell(batch_size=8, image_size=32)).metrics
    assert found["peak_mib"] > found["saved_mib"] - 8 * 3 * 32 * 32 * 4 / MIB  # the images were there before


def test_batch_renorm_keeps_one_input_per_layer_as_batch_norm_does_and_no_norm_keeps_as_much():
    found = {
        name: memory.measure(cell(normalizer=name, batch_size=16, image_size=32)).metrics["saved_mib"]
        for name in ("batch_norm", "batch_renorm", "none")
    }
    assert found["batch_renorm"] == pytest.approx(found["batch_norm"], rel=0.01)
    assert found["none"] == pytest.approx(found["batch_norm"], rel=0.01)


@pytest.mark.parametrize("phase", ["training", "inference"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", normzoo.names())
def test_every_normalizer_is_weighed_in_every_way(name, precision, layout, phase):
    settings = cell(normalizer=name, precision=precision, layout=layout, phase=phase, image_size=8)
    result = memory.measure(settings)
    assert set(result.metrics) < set(METRICS["memory"])
    assert min(result.metrics.values()) > 0
    assert sum(result.conditions["norm_dtypes"].values()) == 3


def test_two_cells_alike_weigh_the_same_to_the_byte():
    assert memory.measure(cell()).metrics == memory.measure(cell()).metrics


def test_one_value_per_statistic_cannot_run():
    with pytest.raises(CannotRun, match=r"needs 2 values per channel"):
        memory.measure(cell(normalizer="batch_norm", batch_size=1, image_size=4))


@pytest.mark.parametrize("largest", [0, 1, 2, 3, 7, 8, 9, 31, 100])
@pytest.mark.parametrize("first", [1, 2, 5, 8, 100])
def test_the_largest_that_fits_is_found_from_anywhere_and_nothing_is_tried_twice(first, largest):
    tried = []

    def fits(number):
        tried.append(number)
        return number <= largest

    assert largest_that_fits(first, fits) == largest
    assert tried[0] == first
    assert len(tried) == len(set(tried))


def test_one_more_than_the_largest_batch_does_not_fit():
    found = memory.measure(searched(limit_mib=4))
    largest = int(found.metrics["largest_batch"])
    beyond = memory.measure(cell(batch_size=largest + 1)).metrics
    assert found.metrics["model_mib"] + found.metrics["peak_mib"] <= 4 < beyond["model_mib"] + beyond["peak_mib"]


def test_every_batch_that_was_tried_is_told_with_what_it_needed_or_why_it_did_not_fit():
    found = memory.measure(searched(limit_mib=4))
    tried = found.conditions["tried"]
    assert next(iter(tried)) == "4"
    assert max(int(batch) for batch, one in tried.items() if one["fits"]) == found.metrics["largest_batch"]
    assert all(one["mib"] <= 4 if one["fits"] else "limit_mib is 4" in one["reason"] for one in tried.values())
    json.dumps(found.conditions)


def test_where_not_even_one_image_fits_the_cell_is_out_of_memory_and_says_what_was_needed():
    outcome = run(searched(limit_mib=1, image_size=64))
    assert outcome.status == "oom"
    assert outcome.reason.startswith("a batch of 1 does not fit: it needs ")
    assert "limit_mib is 1" in outcome.reason


def test_a_batch_too_small_for_the_normalizer_ends_the_search_downwards():
    outcome = run(searched(normalizer="batch_norm", image_size=4, batch_size=2, limit_mib=1))
    assert outcome.status == "oom"
    assert "a batch of 2 does not fit: it needs" in outcome.reason  # and that 1 cannot run is no matter of memory


@pytest.fixture
def short_of_memory(monkeypatch):
    """From 11 images on, memory runs out in the step; what each try had built is watched."""
    built, alive = [], []
    whole, step_of = memory.model_of, memory.training_step

    def model_of(*args):
        gc.disable()  # what is freed is freed by the measure
        alive.append(sum(one() is not None for one in built))
        model = whole(*args)
        model.itself = [model]
        built.append(weakref.ref(model))
        return model

    def training_step(forward, optimizer, batch, settings):
        step = step_of(forward, optimizer, batch, settings)

        def short():
            step()
            if len(batch[0]) > 10:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has no more.")

        return short

    monkeypatch.setattr(memory, "model_of", model_of)
    monkeypatch.setattr(memory, "training_step", training_step)
    yield alive
    gc.enable()


def test_memory_that_runs_out_ends_the_search_and_leaves_nothing_behind(short_of_memory):
    found = memory.measure(searched(limit_mib=1000))
    assert found.metrics["largest_batch"] == 10
    assert found.conditions["tried"]["16"] == {
        "fits": False,
        "reason": "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has no more.",
    }
    assert short_of_memory == [0] * len(found.conditions["tried"])


def test_another_fault_in_the_search_is_a_fault(monkeypatch):
    def broken(*_args):
        raise ValueError("something else")

    monkeypatch.setattr(memory, "model_of", broken)
    assert run(searched(limit_mib=4)).status == "error"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # the compiler's own use of it
def test_a_compiled_step_is_weighed_and_keeps_less_than_the_eager_one():
    changes = {"batch_size": 16, "image_size": 32}
    eager, compiled = (memory.measure(cell(mode=mode, **changes)).metrics for mode in ("eager", "compiled"))
    assert compiled["model_mib"] == eager["model_mib"]
    assert 0 < compiled["saved_mib"] < eager["saved_mib"]
    assert 0 < compiled["peak_mib"] < 2 * eager["peak_mib"]


RESIDENT = """
import json, re, sys
from pathlib import Path
from normzoo_bench.speed import memory, peaks
from normzoo_suites.settings import MemorySettings

def status(key):
    return int(re.search(key + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

found = []
def resident(step, _device):
    counted = peaks.cpu_peak(step)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
    step()
    found.append([counted, status("VmHWM") - before])
    return peaks.Peak(counted)

memory.peak_of = resident
memory.measure(MemorySettings.model_validate(json.loads(sys.argv[1])))
print(json.dumps(found[0]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads resident memory from /proc")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_peak_is_what_the_system_sees_the_process_grow_by(precision):
    settings = {"normalizer": "group_norm", "model": "small_convnet", "batch_size": 32, "image_size": 112}
    words = [sys.executable, "-c", RESIDENT, json.dumps(settings | {"precision": precision})]
    # glibc would keep freed blocks, and growth within them would not be seen
    freeing = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    said = subprocess.run(words, capture_output=True, text=True, check=True, env=freeing).stdout
    counted, grown = json.loads(said.splitlines()[-1])
    assert counted == pytest.approx(grown, rel=0.02)
