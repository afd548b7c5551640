"""How soon and at which rates: the search against a quadratic whose limit is known, the target, and the trainings."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from normzoo_bench import accuracy
from normzoo_bench.insights import convergence
from normzoo_bench.insights.watched import steps_of, trains, watch_steps
from normzoo_bench.result import CannotRun
from normzoo_suites import SuiteError
from normzoo_suites.settings import ConvergenceSettings, training_of


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr(convergence, "_TARGETS", {})

    def build(**changes):
        small = {"normalizer": "batch_norm", "dataset": "digits", "model": "mlp", "epochs": 4, "batch_size": 40}
        return ConvergenceSettings.model_validate(small | {"train_samples": 600, "every": 10} | changes)

    return build


def descends(rate, hessian, steps=2000):
    """Whether gradient descent on ½ wᵀHw goes down, and does not blow up, float64."""
    w = torch.ones(len(hessian), dtype=torch.float64)
    for _ in range(steps):
        w = w - rate * hessian @ w
    return bool(w.norm() < math.sqrt(len(hessian)))


@pytest.mark.parametrize("largest", [0.003, 0.4, 1.9, 2.1, 7.0, 300.0])
def test_on_a_quadratic_the_search_finds_the_limit_of_two_over_the_largest_curvature(largest):
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    hessian = turn @ torch.diag(torch.linspace(largest / 3, largest, 5, dtype=torch.float64)) @ turn.T
    found = convergence.highest(lambda times: descends(times, hessian))
    limit = math.log2(2 / largest)
    assert limit - 0.5 <= found < limit


@pytest.mark.parametrize("limit", [-10.0, -3.3, -0.2, 0.0, 0.4, 0.6, 5.0, 9.9])
def test_the_search_comes_within_the_root_of_two_below_the_limit(limit):
    found = convergence.highest(lambda times: times <= 2**limit)
    assert limit - 0.5 < found <= limit


def test_the_search_ends_at_its_cap_and_below_its_floor():
    assert convergence.highest(lambda _: True) == convergence.FURTHEST
    assert convergence.highest(lambda _: False) is None


def test_the_search_tries_no_rate_twice_and_few():
    tried = []
    convergence.highest(lambda times: tried.append(times) or times < 5)
    assert tried == [1, 2, 4, 8, 4 * math.sqrt(2)]


def test_the_first_step_at_the_target_counts_and_equal_is_enough():
    curve = {5: 0.2, 10: 0.7, 15: 0.6, 20: 0.9}
    assert [convergence.first_at(curve, target) for target in (0.1, 0.7, 0.71, 0.95)] == [5, 10, 20, None]


def test_testing_on_the_way_leaves_the_training_as_accuracy_has_it_to_the_bit(asked, digits):
    training = training_of(asked(normalizer="batch_renorm"))
    run, plain = (accuracy.Run(training, digits) for _ in range(2))
    curve = convergence.curve_of(run, 7)
    accuracy.finish(plain)
    assert list(curve) == [7, 14, 21, 28, 35, 42, 49, 56, 60]  # 600 samples in batches of 40, four times
    told = plain.training.model.state_dict()
    assert all(torch.equal(one, told[name]) for name, one in run.training.model.state_dict().items())
    assert curve[60] == accuracy.measure(training, digits).metrics["test_accuracy"]


def test_without_normalization_the_target_is_reached_where_it_was_set(asked, digits):
    settings = asked(normalizer="none")
    (ended,) = convergence.measure([settings], digits)
    curve = convergence.curve_of(accuracy.Run(training_of(settings), digits), settings.every)
    assert ended.metrics["target_accuracy"] == max(curve.values())
    assert ended.metrics["reached"] == 1
    assert ended.metrics["steps_to_target"] == max(curve, key=lambda step: (curve[step], -step))
    assert 2 ** ended.metrics["steps_to_target_log2"] == pytest.approx(ended.metrics["steps_to_target"])


def test_all_cells_of_a_seed_and_a_budget_have_one_target_that_is_trained_once(asked, digits, monkeypatch):
    seen = []
    given = convergence.Run
    monkeypatch.setattr(convergence, "Run", lambda one, data: seen.append(one) or given(one, data))
    told = [{"normalizer": "batch_norm"}, {"normalizer": "layer_norm", "times": 5.0}, {"clip_gradient": 1.0}]
    cells = [asked(**one) for one in told]
    ended = convergence.measure(cells, digits)
    assert len({one.metrics["target_accuracy"] for one in ended}) == 1
    plain = [one for one in seen if one.normalizer == "none"]
    assert [(one.learning_rate, one.clip_gradient) for one in plain] == [(0.1, 0.0)]
    assert sorted({one.learning_rate for one in seen}) == [0.1, 0.5]


def test_a_training_that_has_reached_its_target_ends_there(asked, digits):
    run = accuracy.Run(training_of(asked()), digits)
    curve = convergence.curve_of(run, 10, enough=0.5)
    assert int(run.training.position) == max(curve) % run.training.batches.steps
    assert max(curve) < steps_of(run)


def test_a_target_that_is_never_reached_counts_as_all_steps(asked, digits):
    (ended,) = convergence.measure([asked(times=1e-6)], digits)
    assert (ended.metrics["steps_to_target"], ended.metrics["reached"]) == (60, 0)


def test_a_net_that_does_not_train_without_normalization_sets_no_target(asked, digits):
    (ended,) = convergence.measure([asked(model="mlp_sigmoid_deep")], digits)
    assert isinstance(ended, CannotRun)
    assert "does not train" in str(ended)


def test_the_highest_rate_trains_and_root_two_times_it_does_not(asked, digits):
    settings = asked(find="highest_rate", every=5, normalizer="none", epochs=2)
    (ended,) = convergence.measure([settings], digits)
    told = dict(zip(ended.samples["tried_times"], ended.samples["tried_trained"], strict=True))
    found = ended.metrics["highest_rate_times"]
    assert found == 2 ** ended.metrics["highest_rate_log2"]
    assert told[found] == 1
    assert min(times for times, trained in told.items() if not trained) == pytest.approx(found * math.sqrt(2))
    for times, trained in told.items():
        run = accuracy.Run(training_of(settings).model_copy(update={"learning_rate": 0.1 * times}), digits)
        watch_steps(run, lambda _: None)
        assert trains(run) == trained


def test_where_no_rate_trains_the_highest_is_below_the_floor(asked, digits, monkeypatch):
    monkeypatch.setattr(convergence, "trains", lambda _: False)
    (ended,) = convergence.measure([asked(find="highest_rate", every=5, epochs=1, train_samples=40)], digits)
    assert (ended.metrics["highest_rate_times"], ended.metrics["highest_rate_log2"]) == (0, -11)


@pytest.mark.parametrize("find", ["steps", "highest_rate"])
def test_the_same_cell_gives_the_same_numbers_to_the_bit(asked, digits, find):
    settings = asked(find=find, epochs=3) if find == "steps" else asked(find=find, every=5, epochs=2)
    first = convergence.measure([settings], digits)
    convergence._TARGETS.clear()
    assert convergence.measure([settings], digits) == first


def test_the_linear_rule_is_applied_before_the_rate_is_multiplied(asked):
    at = convergence._at(asked(learning_rate="linear(rate=0.1, per=80)", times=5.0), 5.0)
    assert at.learning_rate == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"find": "highest_rate", "every": 5, "times": 5.0}, 'times is of find = "steps"'),
        ({"find": "highest_rate", "every": 10}, 'every is of find = "steps"'),
        ({"learning_rate": 1e20, "times": 1e20}, "is above 1e"),
    ],
)
def test_settings_that_do_not_go_together_are_told(asked, changes, message):
    with pytest.raises((SuiteError, ValidationError), match=message):
        asked(**changes)
