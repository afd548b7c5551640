"""What is demonstrated of a layer, against numbers that can be written down."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

import normzoo
from normzoo_bench.insights import demonstration, probes
from normzoo_bench.result import CannotRun
from normzoo_bench.running.worker import run_job
from normzoo_suites import Cell
from normzoo_suites.settings import DemonstrationSettings
from normzoo_suites.settings.demonstration import SHOWN

ALL = ["batch_norm", "sync_batch_norm", "layer_norm", "group_norm", "batch_renorm", "none"]
OVER_THE_BATCH = ["batch_norm", "sync_batch_norm", "batch_renorm"]


@pytest.fixture
def shown():
    def show(shows, normalizer="batch_norm", **changes):
        told = {"shows": shows, "normalizer": normalizer, "batch_size": 16} | changes
        return demonstration.measure(DemonstrationSettings.model_validate(told)).metrics

    return show


@pytest.mark.parametrize("shows", SHOWN)
def test_each_gives_its_metrics_and_no_others(shown, shows):
    assert tuple(shown(shows)) == SHOWN[shows]


@pytest.mark.parametrize("shows", SHOWN)
def test_the_same_cell_gives_the_same_numbers_to_the_bit(shown, shows):
    assert shown(shows, seed=3) == shown(shows, seed=3)


@pytest.mark.parametrize("name", OVER_THE_BATCH)
def test_a_bias_before_a_statistic_of_its_channel_receives_no_gradient(shown, name):
    assert shown("bias_gradient", name)["bias_gradient"] < 1e-13


def test_without_a_statistic_the_bias_receives_the_sum_of_all_gradients(shown):
    settings = DemonstrationSettings(shows="bias_gradient", normalizer="none", batch_size=16)
    v = probes._drawn(settings)[2]
    expected = v.sum((0, 2, 3)).norm() / v.norm()
    assert shown("bias_gradient", "none")["bias_gradient"] == pytest.approx(expected.item())
    assert expected == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("name", ["layer_norm", "group_norm"])
def test_statistics_of_a_sample_leave_the_bias_a_gradient(shown, name):
    assert shown("bias_gradient", name)["bias_gradient"] > 0.1


@pytest.mark.parametrize("name", OVER_THE_BATCH)
def test_sigma_and_mu_undo_a_statistic_of_the_channel(shown, name):
    assert shown("undone", name)["undone_error"] < 1e-11


@pytest.mark.parametrize("name", ["layer_norm", "group_norm"])
def test_no_weight_and_bias_per_channel_undo_a_statistic_of_the_sample(shown, name):
    found = shown("undone", name)
    assert 0.1 < found["undone_error_at_best"] < found["undone_error"]


def test_what_did_nothing_needs_no_undoing(shown):
    assert shown("undone", "none")["undone_error_at_best"] < 1e-12


@pytest.mark.parametrize("name", OVER_THE_BATCH)
@pytest.mark.parametrize(("passes", "mean"), [(1, 0.7), (2, 1.33), (3, 1.897)])
def test_passes_of_a_constant_move_the_running_mean(shown, name, passes, mean):
    assert shown("running_mean", name, passes=passes)["running_mean"] == pytest.approx(mean, rel=1e-12)


def test_a_constant_becomes_nothing_in_training_and_something_in_eval(shown):
    found = shown("running_mean")
    assert found["constant_in_training"] == 0
    assert found["constant_in_eval"] == pytest.approx((7 - 1.897) / 0.9**1.5)  # its variance of 1 falls by 0.9 a pass


def test_a_momentum_that_the_setting_names_wins(shown):
    assert shown("running_mean", "batch_norm(momentum=0.5)", passes=1)["running_mean"] == 3.5


def test_what_keeps_no_running_mean_is_skipped(shown):
    with pytest.raises(CannotRun, match="group_norm keeps no running mean"):
        shown("running_mean", "group_norm")


@pytest.mark.parametrize("name", ALL)
def test_one_value_per_statistic_is_refused_in_training_alone(shown, name):
    found = shown("one_sample", name)
    assert found["refuses_one_sample"] == (name in OVER_THE_BATCH)
    assert found["refuses_one_sample_in_eval"] == 0


def test_of_two_samples_that_are_alike_batch_norm_leaves_nothing(shown):
    assert shown("one_sample")["left_of_two_alike"] == 0
    assert shown("one_sample", "layer_norm")["left_of_two_alike"] > 1


def test_two_batches_that_are_20_apart_become_one_and_eval_still_tells_them(shown):
    found = shown("two_batches")
    assert found["means_apart_before"] == 20
    assert found["means_apart_after"] < 1e-12
    assert found["means_apart_in_eval"] == pytest.approx(20 / 160**0.5)  # unbiased variance of all six
    assert shown("two_batches", "none")["means_apart_after"] == 20


def test_one_channel_is_skipped_where_a_statistic_is_of_one_sample(shown):
    with pytest.raises(CannotRun, match="needs 2 values per sample"):
        shown("two_batches", "layer_norm")


@pytest.mark.parametrize("name", ["batch_norm", "sync_batch_norm", "layer_norm", "group_norm"])
@pytest.mark.parametrize("factor", [0.5, 8.0])
def test_weights_times_a_change_no_output_and_their_gradient_by_one_over_a(shown, name, factor):
    found = shown("scale", name, factor=factor)
    assert found["scaled_output_change"] < 1e-10
    assert found["scaled_gradient"] == pytest.approx(1 / factor, rel=1e-9)


def test_without_a_statistic_the_output_grows_and_the_gradient_stays(shown):
    found = shown("scale", "none", factor=8.0)
    assert found["scaled_output_change"] > 10
    assert found["scaled_gradient"] == pytest.approx(1)


@pytest.mark.parametrize(("factor", "r"), [(2.0, 2), (8.0, 3)])
def test_batch_renorm_follows_a_as_far_as_r_max(shown, factor, r):
    assert shown("scale", "batch_renorm", factor=factor)["scaled_gradient"] == pytest.approx(r / factor)


def test_an_option_that_does_not_fit_the_layer_is_skipped(shown):
    with pytest.raises(CannotRun, match="groups must divide the 32 channels, got 7"):
        shown("undone", "group_norm(groups=7)")


def test_a_worker_measures_it_without_data():
    cell = Cell("demonstration", 1, DemonstrationSettings(shows="two_batches", normalizer="none", batch_size=3))
    (outcome,) = run_job((cell,), "", normzoo.card("none").source_hash)
    assert (outcome.status, outcome.result.metrics["means_apart_after"]) == ("ok", 20)


@pytest.mark.parametrize(("key", "value", "owner"), [("passes", 5, "running_mean"), ("factor", 4.0, "scale")])
def test_a_setting_of_another_demonstration_is_refused(shown, key, value, owner):
    with pytest.raises(ValidationError, match=f'{key} is of shows = "{owner}", got shows = "undone"'):
        shown("undone", **{key: value})
