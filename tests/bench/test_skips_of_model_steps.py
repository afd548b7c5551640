"""What of models' steps can be known to be impossible before anything is timed or weighed."""

from __future__ import annotations

import pytest

import normzoo
from normzoo_bench.errors import UsageError
from normzoo_bench.skips import skip_reason
from normzoo_suites import Cell
from normzoo_suites.settings import MEASURES

MODELS = ["model_throughput", "memory", "sync_cost"]


def reason(measure, **changes):
    settings = {"normalizer": "batch_norm", "model": "small_convnet", "batch_size": 2, "image_size": 4} | changes
    return skip_reason(Cell(measure, 1, MEASURES[measure].model_validate(settings)), {})


@pytest.mark.parametrize("measure", MODELS)
def test_two_images_are_enough_for_any_statistic(measure):
    assert reason(measure) is None


@pytest.mark.parametrize("measure", MODELS)
def test_one_image_is_too_few_for_batch_norm_on_a_map_of_one_position(measure):
    assert "needs 2 values per channel" in reason(measure, batch_size=1)


@pytest.mark.parametrize("measure", MODELS)
def test_one_image_is_enough_on_larger_maps(measure):
    assert reason(measure, batch_size=1, image_size=16) is None


@pytest.mark.parametrize(("measure", "timed"), [("model_throughput", True), ("memory", False), ("sync_cost", True)])
def test_where_batch_norm_is_timed_in_turn_it_must_run_too(measure, timed):
    found = reason(measure, normalizer="group_norm", batch_size=1)
    assert found.startswith("it would be timed against batch_norm, and ") if timed else found is None


@pytest.mark.parametrize("phase", ["inference", "folded"])
def test_running_statistics_need_no_second_image(phase):
    assert reason("model_throughput", phase=phase, batch_size=1) is None


def test_ranks_share_the_batch_and_a_rank_of_one_image_has_too_few():
    assert "needs 2 values per channel" in reason("sync_cost", ranks=2)
    assert reason("sync_cost", ranks=2, normalizer="sync_batch_norm").startswith("it would be timed against batch_norm")
    assert reason("sync_cost", ranks=2, batch_size=4) is None


@pytest.mark.parametrize("measure", MODELS)
def test_options_that_do_not_fit_the_model_are_told(measure):
    assert "16" in reason(measure, normalizer="group_norm(groups=5)")


@pytest.mark.parametrize("measure", MODELS)
def test_a_model_that_does_not_exist_is_a_mistake_and_no_skip(measure):
    with pytest.raises(UsageError, match="unknown model"):
        reason(measure, model="small_convnets")


@pytest.mark.parametrize("measure", MODELS)
def test_a_model_that_cannot_take_such_images_is_a_mistake(measure):
    with pytest.raises(UsageError):
        reason(measure, model="vit", image_size=7)


@pytest.mark.parametrize("name", normzoo.names())
def test_only_what_is_constant_in_inference_is_folded(name):
    constant = name in ("batch_norm", "sync_batch_norm", "batch_renorm", "sync_batch_renorm", "none")
    found = reason("model_throughput", normalizer=name, phase="folded")
    assert found is None if constant else "only constants can be folded" in found


def test_a_captured_graph_needs_a_gpu():
    wanted = "a captured CUDA graph needs a GPU"
    assert reason("model_throughput", mode="captured") == wanted
    layer = {"normalizer": "batch_norm", "shape": "8x4x4", "batch_size": 4, "mode": "captured"}
    of_layer = MEASURES["throughput"].model_validate
    assert skip_reason(Cell("throughput", 1, of_layer(layer)), {}) == wanted
    assert skip_reason(Cell("throughput", 1, of_layer(layer | {"device": "cuda"})), {}) is None
