"""The measure `throughput`: what it gives, and that a wrong layer's speed is not published."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import normzoo
from normzoo_bench.result import CannotRun
from normzoo_bench.speed import gate, layers
from normzoo_suites.settings import ThroughputSettings


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr("normzoo_bench.timing.pairs.PAIRS", (5, 5))
    monkeypatch.setattr("normzoo_bench.timing.pairs.WARM_UP_S", (0.0, 0.01))
    monkeypatch.setattr("normzoo_bench.timing.pairs.SAMPLE_MS", 0.1)
    monkeypatch.setattr("normzoo_bench.speed.limit.COPIED", 2**16)


def cell(**changes):
    return ThroughputSettings.model_validate({"normalizer": "group_norm", "shape": "8x4x4", "batch_size": 4} | changes)


@pytest.mark.parametrize("direction", ["forward", "forward_backward", "eval"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", normzoo.names())
def test_every_normalizer_is_timed_in_every_way(name, layout, dtype, direction):
    result = layers.measure(cell(normalizer=name, layout=layout, dtype=dtype, direction=direction))
    assert len(result.samples["step_ms"]) == len(result.samples["batch_norm_step_ms"]) == 5
    assert result.metrics["step_ms"] > 0


def test_the_ratio_is_the_median_of_the_paired_ratios():
    result = layers.measure(cell())
    ratios = np.divide(result.samples["step_ms"], result.samples["batch_norm_step_ms"])
    assert result.metrics["step_ms_ratio"] == pytest.approx(np.median(ratios))
    assert result.metrics["step_ms"] == pytest.approx(np.median(result.samples["step_ms"]))
    assert result.metrics["images_per_s"] == pytest.approx(4 / result.metrics["step_ms"] * 1e3)


def test_one_value_per_statistic_cannot_run():
    with pytest.raises(CannotRun, match=r"needs 2 values per channel"):
        layers.measure(cell(normalizer="batch_norm", shape="8x1x1", batch_size=1))


@pytest.fixture
def wrong_layer():
    @normzoo.register("wrong_in_float32", paper="none", year=None, pools={"space"})
    class Wrong(nn.Module):
        def __init__(self, num_features):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(num_features))

        def forward(self, x):
            return x * 1.01 if x.dtype == torch.float32 else x

    return "wrong_in_float32"


def test_a_layer_that_is_off_against_float64_gets_no_speed(wrong_layer):
    with pytest.raises(RuntimeError, match=r"off by .* against float64"):
        layers.measure(cell(normalizer=wrong_layer))


@pytest.fixture
def wrong_backward():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * (1.01 if gradient.dtype == torch.float32 else 1)

    @normzoo.register("wrong_backward", paper="none", year=None, pools=set())
    class Layer(normzoo.card("none").factory):
        def forward(self, x):
            return super().forward(Wrong.apply(x))

    return "wrong_backward"


def test_a_layer_whose_gradient_is_off_gets_no_training_speed_though_its_output_is_right(wrong_backward):
    assert layers.measure(cell(normalizer=wrong_backward, direction="forward")).metrics["step_ms"] > 0
    with pytest.raises(RuntimeError, match=r"off by .* against float64"):
        layers.measure(cell(normalizer=wrong_backward))


def test_holding_a_layer_against_float64_leaves_it_as_it_was():
    layer = normzoo.create("batch_norm", 4)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    gate.error_vs_float64(layer, torch.randn(8, 4), backward=True)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    assert layer.weight.grad is None
