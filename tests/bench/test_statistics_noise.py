"""The noise of statistics, against distributions whose moments are known, and layers' own statistics."""

from __future__ import annotations

import math

import pytest
import torch

from normzoo_bench.insights import statistics_noise
from normzoo_bench.insights.trained import norm_layers
from normzoo_bench.result import CannotRun, Diverged
from normzoo_suites.settings import StatisticsNoiseSettings


@pytest.fixture
def asked():
    def build(**changes):
        small = {"normalizer": "batch_norm", "dataset": "digits", "model": "small_convnet", "epochs": 1}
        small |= {"batch_size": 32, "train_samples": 300, "samples": 8}
        return StatisticsNoiseSettings.model_validate(small | changes)

    return build


def drawn(values, samples, draws=2000):
    """Noise of samples [M, C, S], with many draws."""
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(len(values), (draws, samples), generator=generator)
    return statistics_noise.noise(values.mean(2), values.square().mean(2), index)


@pytest.mark.parametrize("samples", [1, 4, 64])
def test_of_independent_normal_values_the_mean_errs_by_one_over_the_root(samples):
    values = torch.randn(5000, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 100
    metrics, _, _ = drawn(values, samples)
    assert metrics["mean_error"] * math.sqrt(samples) == pytest.approx(1, rel=0.05)
    assert metrics["mean_error_scaled"] == pytest.approx(metrics["mean_error"] * math.sqrt(samples))


def test_of_independent_normal_values_the_variance_errs_by_the_root_of_two_over_n():
    values = torch.randn(5000, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    metrics, _, _ = drawn(values, 64)
    assert metrics["variance_error_scaled"] == pytest.approx(math.sqrt(2), rel=0.06)


def test_positions_that_are_alike_within_a_sample_count_once():
    one = torch.randn(5000, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone, repeated = drawn(one, 8)[0], drawn(one.expand(-1, -1, 49), 8)[0]
    assert repeated["mean_error"] == pytest.approx(alone["mean_error"], rel=1e-9)


def test_a_batch_of_all_samples_has_no_error():
    values = torch.randn(50, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    metrics, r, d = statistics_noise.noise(values.mean(2), values.square().mean(2), torch.arange(50)[None])
    assert metrics["mean_error"] == pytest.approx(0, abs=1e-12)
    assert metrics["variance_error"] == pytest.approx(0, abs=1e-12)
    assert torch.allclose(r, torch.ones_like(r))
    assert d.abs().max() < 1e-12


def test_channels_that_never_vary_are_left_out_and_none_that_does_is_nothing_to_see():
    values = torch.randn(500, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    dead = torch.cat([values, torch.full((500, 1, 1), 7.0, dtype=torch.float64)], 1)
    assert drawn(dead, 8)[0] == drawn(values, 8)[0]
    with pytest.raises(CannotRun, match="no channel of the layer varies"):
        drawn(dead[:, 2:], 8)


def test_what_is_clipped_is_counted():
    values = torch.tensor([0.0] * 999 + [1000.0], dtype=torch.float64).view(-1, 1, 1)
    every = torch.tensor([[999], [0], [1], [2]])  # one draw 31 deviations off, and all of them without variance
    assert statistics_noise.noise(values.mean(2), values.square().mean(2), every)[0]["clipped_share"] == 1


@pytest.mark.parametrize("depth", ["first", "middle", "last"])
def test_what_enters_a_layer_has_the_moments_of_its_population(asked, digits, depth, monkeypatch):
    seen = []
    given = statistics_noise.noise
    monkeypatch.setattr(statistics_noise, "noise", lambda *held: seen.append(held) or given(*held))
    (run,) = statistics_noise.after_training(
        [asked(depth=depth)], digits, lambda run, one: statistics_noise._look(run, one) and run
    )
    means, squares, _ = seen[0]
    layers = norm_layers(run.training.model, asked())
    layer = layers[{"first": 0, "middle": 1, "last": 2}[depth]]
    entered = []
    layer.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0].double()))
    run.training.model.eval()(run.train.batch(slice(None))[0])
    assert torch.allclose(means.mean(0), entered[0].mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    variance = squares.mean(0) - means.mean(0).square()
    assert torch.allclose(variance, entered[0].var((0, 2, 3), correction=0), rtol=1e-4)


def test_cells_that_differ_in_samples_and_depth_share_a_training(asked, digits, monkeypatch):
    trained = []
    monkeypatch.setattr("normzoo_bench.insights.trained.finish", lambda run: trained.append(run))
    cells = [asked(samples=n, depth=depth) for n in (2, 8) for depth in ("first", "last")]
    found = statistics_noise.measure(cells, digits)
    assert len(trained) == 1
    assert len({one.metrics["mean_error"] for one in found}) == 4


def test_the_error_of_the_mean_falls_as_the_root_on_a_trained_net(asked, digits):
    few, many = statistics_noise.measure([asked(samples=4), asked(samples=64)], digits)
    assert many.metrics["mean_error"] < few.metrics["mean_error"] / 3
    assert many.metrics["mean_error_scaled"] == pytest.approx(few.metrics["mean_error_scaled"], rel=0.15)


def test_the_same_cell_gives_the_same_numbers_to_the_bit(asked, digits):
    first, second = (statistics_noise.measure([asked()], digits)[0] for _ in range(2))
    assert first == second


def test_a_net_that_diverged_shows_nothing(asked, digits):
    (ended,) = statistics_noise.measure([asked(learning_rate=1e25)], digits)
    assert isinstance(ended, Diverged)


def test_looking_leaves_the_net_as_it_was(asked, digits):
    run = statistics_noise.after_training([asked()], digits, lambda run, one: run)[0]
    before = {name: one.clone() for name, one in run.training.model.state_dict().items()}
    statistics_noise._look(run, asked())
    assert run.training.model.training
    assert all(torch.equal(one, before[name]) for name, one in run.training.model.state_dict().items())
