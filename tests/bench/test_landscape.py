"""Looks along the gradient, against quadratics whose lines are known; and trainings that do not feel them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from normzoo_bench import accuracy
from normzoo_bench.insights import landscape, watched
from normzoo_bench.models.registry import BUILDERS
from normzoo_bench.result import CannotRun, Diverged
from normzoo_suites.settings import LandscapeSettings, training_of

SMALL = {"normalizer": "batch_norm", "dataset": "digits", "model": "mlp", "epochs": 2}
SMALL |= {"batch_size": 32, "train_samples": 300, "every": 6}


def asked(**changes):
    return LandscapeSettings.model_validate(SMALL | changes)


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def quadratic(a):
    """½xᵀAx of one vector, cut into two tensors as a net's weights are."""

    def at(weights):
        x = torch.cat(list(weights))
        return x @ a @ x / 2, list((a @ x).split([len(one) for one in weights]))

    return at


@pytest.fixture
def curved():
    root = drawn(6, 6)
    a, x = root @ root.T, drawn(12)[6:]
    return a, x, a @ x


def test_on_a_quadratic_the_gradient_changes_by_eta_times_a_g(curved):
    a, x, g = curved
    found = landscape.line(quadratic(a), x.split([2, 4]), [0.01, 0.02, 0.3])
    expected = [eta * (a @ g).norm().item() for eta in (0.01, 0.02, 0.3)]
    assert found.changes == pytest.approx(expected, rel=1e-12)
    assert found.change == pytest.approx(expected[-1], rel=1e-12)
    assert found.norm == pytest.approx(g.norm().item(), rel=1e-12)


def test_on_a_quadratic_the_smoothness_is_that_of_a_along_g_at_every_size(curved):
    a, x, g = curved
    for sizes in ([1e-3], [0.1, 0.2], [5.0]):
        found = landscape.line(quadratic(a), [x], sizes)
        assert found.smoothness == pytest.approx(((a @ g).norm() / g.norm()).item(), rel=1e-9)


def test_on_a_quadratic_the_loss_is_the_known_parabola(curved):
    a, x, g = curved
    sizes = [0.05, 0.1, 0.4]
    found = landscape.line(quadratic(a), [x], sizes)
    parabola = [(x @ a @ x / 2 - eta * g @ g + eta**2 / 2 * g @ a @ g).item() for eta in (0, *sizes)]
    assert found.losses == pytest.approx(parabola, rel=1e-12)
    assert found.range == pytest.approx(max(parabola) - min(parabola), rel=1e-12)


def test_the_loss_rises_from_steps_of_two_over_the_curvature_on():
    a = torch.tensor([[4.0]], dtype=torch.float64)
    found = landscape.line(quadratic(a), [torch.tensor([3.0], dtype=torch.float64)], [0.1, 0.4, 0.6, 0.8])
    assert found.rising == 0.5


def test_where_the_loss_is_linear_its_range_is_the_length_of_the_slope_and_the_gradient_stays():
    slope = drawn(5)
    found = landscape.line(lambda weights: (slope @ weights[0], [slope]), [drawn(5)], [0.5, 2.0])
    metrics = landscape.summed_up([found])
    assert metrics["loss_range_relative"] == pytest.approx(1, rel=1e-12)
    assert metrics["gradient_change_relative"] == metrics["effective_smoothness"] == 0


def test_what_is_relative_does_not_know_the_unit_of_the_loss(curved):
    a, x, _ = curved
    one = landscape.summed_up([landscape.line(quadratic(a), [x], [0.02, 0.04])])
    other = landscape.summed_up([landscape.line(quadratic(10 * a), [x], [0.002, 0.004])])
    for name in ("loss_range_relative", "gradient_change_relative", "rising_share"):
        assert one[name] == pytest.approx(other[name], rel=1e-9)
    for name in ("loss_range", "gradient_change", "effective_smoothness", "line_gradient_norm"):
        assert 10 * one[name] == pytest.approx(other[name], rel=1e-9)


def test_metrics_are_means_over_the_lines_and_the_largest():
    lines = [
        landscape.Line([0.5, 1.0], [2.0, 1.0, 3.0], [1.0, 4.0], 2.0),
        landscape.Line([0.5, 1.0], [2.0, 1.5, 1.0], [0.5, 1.0], 1.0),
    ]
    assert landscape.summed_up(lines) == {
        "loss_range": 1.5,
        "gradient_change": 2.5,
        "effective_smoothness": 1.5,
        "loss_range_relative": (2 / 4 + 1) / 2,
        "gradient_change_relative": 1.5,
        "rising_share": 0.25,
        "loss_range_largest": 2.0,
        "gradient_change_largest": 4.0,
        "effective_smoothness_largest": 2.0,
        "line_gradient_norm": 1.5,
    }


def test_a_flat_line_counts_as_flat_and_nothing_is_relative_to_it():
    flat = landscape.Line([1.0], [0.0, 0.0], [0.0], 0.0)
    steep = landscape.Line([1.0], [2.0, 1.0], [3.0], 1.0)
    metrics = landscape.summed_up([flat, steep])
    assert (metrics["loss_range"], metrics["effective_smoothness"]) == (0.5, 3.0)
    with pytest.raises(CannotRun, match="the gradient is 0"):
        landscape.summed_up([flat])


def dropping(shape, classes):
    """A net that draws at random in training."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64 * shape[0], 32), nn.BatchNorm1d(32), nn.Dropout(0.5), nn.Linear(32, classes)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normalizer": "batch_renorm"},
        {"normalizer": "none"},
        {"model": "dropping"},
        {"model": "small_convnet", "augment": "crop_flip(padding=1)", "optimizer": "adamw", "learning_rate": 0.01},
        {"clip_gradient": 0.1, "label_smoothing": 0.1, "label_noise": 0.2},
    ],
)
def test_a_training_under_watch_is_the_one_that_accuracy_does(changes, digits, monkeypatch):
    monkeypatch.setitem(BUILDERS, "dropping", dropping)
    settings = asked(every=3, **changes)
    plain, seen = (accuracy.Run(training_of(settings), digits) for _ in range(2))
    accuracy.finish(plain)
    watcher = landscape.Landscape(seen, settings)
    watched.watch(seen, [watcher])
    assert len(watcher.lines) == 6
    after = seen.training.model.state_dict()
    assert all(torch.equal(one, after[name]) for name, one in plain.training.model.state_dict().items())
    assert plain.training.series == seen.training.series


def test_the_loss_that_is_held_is_that_of_the_step_to_come(digits, monkeypatch):
    settings = asked(every=1, augment="crop_flip(padding=1)", label_smoothing=0.1, normalizer="batch_renorm")
    run = accuracy.Run(training_of(settings), digits)
    watcher = landscape.Landscape(run, settings)
    monkeypatch.setattr(landscape, "SIZES", 1)
    watched.watch(run, [watcher])
    steps = run.training.batches.steps
    of_epoch = [one.losses[0] for one in watcher.lines.values()]
    for epoch, told in enumerate(run.training.series["train_loss"]):
        assert math.fsum(of_epoch[epoch * steps : (epoch + 1) * steps]) / steps == pytest.approx(told, rel=1e-5)


def test_along_a_line_a_net_draws_the_same_numbers_and_has_the_statistics_of_its_start(digits, monkeypatch):
    monkeypatch.setitem(BUILDERS, "dropping", dropping)
    renorm = "batch_renorm(momentum=0.5, warmup_steps=0)"  # what a pass finds follows from the pass before
    run = accuracy.Run(training_of(asked(model="dropping", normalizer=renorm)), digits)
    accuracy.finish(run)
    run.training.begin(0)
    held = watched.Held.of(run)
    first, second = (held.at(held.weights) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(one, other) for one, other in zip(first[1], second[1], strict=True))


def test_a_step_against_the_gradient_is_what_is_tried(digits):
    run = accuracy.Run(training_of(asked()), digits)
    run.training.begin(0)
    held = watched.Held.of(run)
    found = landscape.line(held.at, held.weights, [1e-3])
    assert found.losses[1] - found.losses[0] == pytest.approx(-1e-3 * found.norm**2, rel=0.2)


@pytest.mark.parametrize(("every", "steps"), [(0, range(18)), (5, [0, 5, 10, 15]), (100, [0])])
def test_there_is_a_look_before_every_kth_step(every, steps, digits):
    (found,) = landscape.measure([asked(every=every)], digits)
    assert found.samples["landscape_step"] == list(steps)
    assert all(len(values) == len(steps) for values in found.samples.values())


@pytest.mark.parametrize("whole", [10, 44, 109, 1000])
def test_without_being_told_there_are_ten_looks_or_a_few_more(whole, monkeypatch):
    monkeypatch.setattr(watched, "steps_of", lambda run: whole)
    assert 10 <= -(-whole // watched.distance(None, 0)) <= 11


def test_cells_that_look_otherwise_share_a_training_and_see_what_they_see_alone(digits, monkeypatch):
    cells = [asked(reach=1), asked(reach=8), asked(every=9)]
    alone = [landscape.measure([one], digits)[0] for one in cells]
    begun = []
    built = watched.begun
    monkeypatch.setattr(watched, "begun", lambda *held: begun.append(1) or built(*held))
    assert landscape.measure(cells, digits) == alone
    assert len(begun) == 1


def test_the_same_cell_gives_the_same_numbers_to_the_bit(digits):
    first, second = (landscape.measure([asked(normalizer="group_norm")], digits)[0] for _ in range(2))
    assert first == second


def test_the_reach_is_in_learning_rates_whatever_the_schedule(digits):
    run = accuracy.Run(training_of(asked(learning_rate="linear(rate=0.1, per=64)")), digits)
    sizes = landscape.Landscape(run, asked(learning_rate="linear(rate=0.1, per=64)", reach=4)).sizes
    assert sizes == pytest.approx([0.025 * number for number in range(1, 9)])


def test_a_net_that_diverged_shows_nothing(digits):
    (ended,) = landscape.measure([asked(learning_rate=1e25)], digits)
    assert isinstance(ended, Diverged)


def test_a_line_that_leaves_all_numbers_is_a_reason_and_leaves_other_cells_alone(digits):
    far, near = landscape.measure([asked(reach=1e30), asked()], digits)
    assert isinstance(far, CannotRun)
    assert "not finite along the gradient of step 0" in str(far)
    assert near.metrics
