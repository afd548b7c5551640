"""What only a GPU can show of times and memory; skipped without one."""

from __future__ import annotations

import pytest
import torch

import normzoo
from normzoo_bench.result import CannotRun
from normzoo_bench.speed import conditions, layers, models, modes
from normzoo_bench.timing import Emptier, clock_of, cold, machine, warm_up
from normzoo_suites.settings import ModelThroughputSettings, ThroughputSettings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
NAMES = normzoo.names()


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr("normzoo_bench.timing.pairs.PAIRS", (5, 5))


def layer(**changes):
    least = {"normalizer": "group_norm", "shape": "64x14x14", "batch_size": 16, "device": "cuda"}
    return ThroughputSettings.model_validate(least | changes)


def net(**changes):
    least = {"normalizer": "group_norm", "model": "resnet20", "image_size": 32, "batch_size": 16, "device": "cuda"}
    return ModelThroughputSettings.model_validate(least | changes)


@pytest.mark.parametrize("direction", ["forward", "forward_backward", "eval"])
@pytest.mark.parametrize("mode", ["eager", "compiled", "captured"])
@pytest.mark.parametrize("cache", ["hot", "cold"])
@pytest.mark.parametrize("name", NAMES)
def test_every_layer_is_timed_in_every_mode_once_it_agrees_with_float64(name, cache, mode, direction):
    found = layers.measure(layer(normalizer=name, cache=cache, mode=mode, direction=direction))
    assert found.metrics["step_ms"] > 0
    assert found.metrics["kernels"] >= 1


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("phase", "mode"), [("training", "eager"), ("training", "captured"), ("inference", "captured")]
)
def test_a_model_is_timed_in_every_mode_once_it_agrees_with_float64(phase, mode, precision, layout):
    found = models.measure(net(phase=phase, mode=mode, precision=precision, layout=layout))
    assert found.metrics["model_step_ms"] > 0


def test_a_captured_training_step_moves_the_weights_each_time_it_is_replayed():
    settings = net(mode="captured")
    model = models.model_of("group_norm", settings)
    step = models._step(model, models.images(settings, 16), settings)
    logits = [step().clone() for _ in range(3)]
    assert not torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[1], logits[2])


def test_autocast_runs_group_norm_and_batch_norm_in_dtypes_that_are_recorded():
    told = models.measure(net(precision="bfloat16")).conditions["norm_dtypes"]
    assert sum(told.values()) == 19


def test_kernels_are_counted_launched_or_replayed():
    x = torch.randn(1000, device="cuda")
    step = lambda: x.mul(2).add(1)  # noqa: E731  # two kernels
    assert conditions.kernels(step) == 2
    assert conditions.kernels(modes.captured(step, [])) == 2


def test_a_large_input_takes_longer_from_memory_than_a_small_one_from_the_cache():
    x = torch.randn(2**20, device="cuda")  # 4 MB
    clock = clock_of("cuda")
    graph = modes.captured(lambda: x.add(1), [])
    assert warm_up(graph, cold(clock, Emptier("cuda"))).ms > warm_up(graph, clock).ms * 0.5  # and neither is nothing


def test_the_state_of_the_gpu_is_told():
    found = machine.state("cuda")
    assert {"sm_mhz", "memory_mhz", "celsius", "slowed_by"} <= found.keys()
    assert found["sm_mhz"] > 0


def test_an_input_that_does_not_fit_is_out_of_memory_with_the_bytes_asked_for_and_the_next_cell_is_unaffected():
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        layers.measure(layer(shape="4096x256x256", batch_size=4096))
    assert layers.measure(layer()).metrics["step_ms"] > 0


def test_a_batch_of_one_value_cannot_run_on_the_gpu_either():
    with pytest.raises(CannotRun):
        layers.measure(layer(normalizer="batch_norm", shape="8x1x1", batch_size=1))
