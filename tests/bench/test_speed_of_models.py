"""The measure `model_throughput`: what it gives, and that a wrong model's speed is not published."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import normzoo
from normzoo_bench.models.registry import BUILDERS
from normzoo_bench.result import CannotRun
from normzoo_bench.speed import models
from normzoo_suites.settings import ModelThroughputSettings


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr("normzoo_bench.timing.pairs.PAIRS", (3, 3))
    monkeypatch.setattr("normzoo_bench.timing.pairs.WARM_UP_S", (0.0, 0.01))
    monkeypatch.setattr("normzoo_bench.timing.pairs.SAMPLE_MS", 0.1)


def small_net(_shape, classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(small_net.rate), nn.Linear(8, classes),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(BUILDERS, "small", small_net)
    monkeypatch.setattr(small_net, "rate", 0.0, raising=False)


def cell(**changes):
    least = {"normalizer": "group_norm", "model": "small", "image_size": 8, "batch_size": 4}
    return ModelThroughputSettings.model_validate(least | changes)


@pytest.mark.parametrize("phase", ["training", "inference"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", normzoo.names())
def test_every_normalizer_is_timed_in_a_model_in_every_way(name, layout, precision, phase):
    result = models.measure(cell(normalizer=name, layout=layout, precision=precision, phase=phase))
    assert len(result.samples["model_step_ms"]) == len(result.samples["batch_norm_model_step_ms"]) == 3
    assert result.metrics["model_images_per_s"] == pytest.approx(4 / result.metrics["model_step_ms"] * 1e3)


def test_what_autocast_makes_of_the_norms_is_recorded():
    told = models.measure(cell(precision="bfloat16")).conditions
    assert told["norm_dtypes"] == {"bfloat16 to bfloat16": 1}  # one norm, which the convolution before feeds bfloat16
    assert told["held_against_float64"] == "as timed"


def test_folding_is_timed_against_batch_norm_in_inference():
    assert models.measure(cell(normalizer="batch_norm", phase="folded")).conditions["folded"] == "1 of 1"


def test_what_computes_statistics_in_inference_cannot_be_timed_folded():
    with pytest.raises(CannotRun, match="GroupNorm computes statistics in inference"):
        models.measure(cell(phase="folded"))


def test_a_net_that_draws_in_training_is_held_against_float64_in_inference(monkeypatch):
    monkeypatch.setattr(small_net, "rate", 0.5)
    assert models.measure(cell()).conditions["held_against_float64"] == "in inference"
    assert models.measure(cell(phase="inference")).conditions["held_against_float64"] == "as timed"


def test_too_few_values_for_a_statistic_cannot_run(monkeypatch):
    monkeypatch.setitem(BUILDERS, "small", lambda _shape, classes: nn.Sequential(
        nn.Conv2d(3, 8, 8), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, classes)
    ))  # fmt: skip
    with pytest.raises(CannotRun, match=r"batch_norm: .*needs 2 values per channel"):
        models.measure(cell(normalizer="batch_norm", batch_size=1))
    assert models.measure(cell(normalizer="batch_norm", batch_size=1, phase="inference")).metrics["model_step_ms"] > 0


@pytest.fixture
def wrong_norm():
    @normzoo.register("wrong_in_a_model", paper="none", year=None, pools=set())
    class Wrong(normzoo.card("none").factory):
        def forward(self, x):
            return super().forward(x) * (1.05 if x.dtype == torch.float32 else 1.0)

    return "wrong_in_a_model"


def test_a_model_that_is_off_against_float64_gets_no_speed(wrong_norm):
    with pytest.raises(RuntimeError, match=r"the logits of small with wrong_in_a_model are off by .* of their length"):
        models.measure(cell(normalizer=wrong_norm))


@pytest.fixture
def lazy_backward():
    class Lazy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 0

    @normzoo.register("lazy_backward", paper="none", year=None, pools=set())
    class Layer(normzoo.card("none").factory):
        def forward(self, x):
            return super().forward(Lazy.apply(x) if x.dtype == torch.float32 else x)

    return "lazy_backward"


def test_a_model_whose_backward_pass_leaves_work_out_gets_no_training_speed(lazy_backward):
    assert models.measure(cell(normalizer=lazy_backward, phase="inference")).metrics["model_step_ms"] > 0
    with pytest.raises(RuntimeError, match=r"the gradients of small with lazy_backward are off by"):
        models.measure(cell(normalizer=lazy_backward))


@pytest.fixture
def norm_with_a_p():
    @normzoo.register("norm_with_a_p", paper="none", year=None, pools=set())
    class Layer(normzoo.card("none").factory):
        p = 2.0

    return "norm_with_a_p"


def test_a_norm_with_a_p_is_no_dropout(norm_with_a_p):
    assert models.measure(cell(normalizer=norm_with_a_p)).conditions["held_against_float64"] == "as timed"


def test_a_training_step_moves_the_weights():
    model = models.model_of("batch_norm", cell())
    before = [parameter.detach().clone() for parameter in model.parameters()]
    models._step(model, models.images(cell(), 4), cell())()
    assert not any(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # the compiler's own use of it
def test_a_compiled_model_is_held_against_float64_and_says_where_the_compiler_gave_up():
    metrics = models.measure(cell(mode="compiled")).metrics
    assert metrics["model_graph_breaks"] == 0
    assert metrics["model_error_vs_float64"] < 1e-5
