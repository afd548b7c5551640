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


def lying(name, forward):
    """Register a normalizer whose forward is ``forward(self, x, plain)``, the plain one being batch norm's own."""

    @normzoo.register(name, paper="none", year=None, pools={"batch", "space"}, running_stats=True)
    class Lying(normzoo.card("batch_norm").factory):
        calls = 0

        def forward(self, x):
            self.calls += x.dtype == torch.float32
            return forward(self, x, super().forward)

    return name


@pytest.fixture
def wrong_from_the_second_call():
    return lying("wrong_later", lambda self, x, plain: x + 0.0 if self.calls > 1 else plain(x))


@pytest.fixture
def gives_its_last_output_again():
    def forward(self, x, plain):
        if x.dtype == torch.float32:
            self.kept = getattr(self, "kept", None) or (plain(x).detach(),)
            return self.kept[0]
        return plain(x)

    return lying("keeps_its_output", forward)


@pytest.mark.parametrize("direction", ["forward", "eval"])
def test_a_layer_that_is_right_only_at_first_gets_no_speed(wrong_from_the_second_call, direction):
    with pytest.raises(RuntimeError, match=r"wrong_later are off by .* against float64"):
        layers.measure(cell(normalizer=wrong_from_the_second_call, direction=direction))


@pytest.mark.parametrize("direction", ["forward", "eval"])
def test_a_layer_that_gives_its_last_output_again_gets_no_speed(gives_its_last_output_again, direction):
    with pytest.raises(RuntimeError, match=r"keeps_its_output are off by .* against float64"):
        layers.measure(cell(normalizer=gives_its_last_output_again, direction=direction))


@pytest.fixture
def works_on_its_input():
    return lying("works_on_its_input", lambda self, x, plain: plain(x.mul_(1.001)))


def test_a_layer_that_changes_its_input_gets_no_speed(works_on_its_input):
    with pytest.raises(RuntimeError, match="works_on_its_input changes its input"):
        layers.measure(cell(normalizer=works_on_its_input, direction="eval"))


@pytest.fixture
def takes_two_threads():
    def forward(self, x, plain):
        torch.set_num_threads(2)
        return plain(x)

    yield lying("takes_two_threads", forward)
    torch.set_num_threads(1)


def test_a_layer_that_changes_the_process_gets_no_speed(takes_two_threads):
    with pytest.raises(RuntimeError, match=r"has changed the process: 2 thread\(s\)"):
        layers.measure(cell(normalizer=takes_two_threads))


@pytest.fixture
def counts_in_python():
    def forward(self, x, plain):
        self.number = getattr(self, "number", 0) + 1
        return plain(x) * (1.0 + 0.0 * self.number)

    return lying("counts_in_python", forward)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # the compiler's own use of it
def test_compiling_is_not_timed_as_steps(counts_in_python):
    with pytest.raises((RuntimeError, torch._dynamo.exc.FailOnRecompileLimitHit)):
        layers.measure(cell(normalizer=counts_in_python, direction="forward", mode="compiled"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # the compiler's own use of it
def test_what_compiled_code_keeps_for_backward_is_counted_of_it():
    assert layers.measure(cell(mode="compiled")).metrics["saved_t"] > 0
