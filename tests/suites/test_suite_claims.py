"""Claims are held to the suite's own grids before anything is measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from normzoo_suites import Suite, SuiteError, parse_suite
from normzoo_suites.claims import side_cells
from normzoo_suites.metrics import METRICS, measure_of
from normzoo_suites.readings import missing

Spoiled = Callable[[str, str], str]
PLUS = 'plus = [{ normalizer = "batch_norm", ranks = 1 }]'


def test_a_side_names_one_cell_per_seed(small: Suite) -> None:
    found = side_cells(small.cells(), {"normalizer": "batch_norm", "ranks": 20})
    assert sorted(found) == [0, 1, 2]
    assert all(cell.settings.normalizer == "batch_norm" for cell in found.values())


def test_a_side_that_leaves_an_axis_open_is_told_which(spoiled: Spoiled) -> None:
    message = spoiled(PLUS, 'plus = [{ normalizer = "batch_norm" }]')
    assert message == (
        "small.toml, line 24: the claim 'small_parts_hurt': {normalizer = batch_norm} matches cells that differ in "
        "ranks; name a value of it"
    )


def test_a_side_that_matches_nothing_is_refused(spoiled: Spoiled) -> None:
    assert "{normalizer = batch_norm, ranks = 2} matches no cell" in spoiled("ranks = 1 }", "ranks = 2 }")


def test_a_side_may_spell_a_value_as_the_user_likes(small_text: str) -> None:
    text = small_text.replace('"batch_norm", ranks', '" group_norm( groups = 8.0 )", learning_rate = 1e-1, ranks')
    assert parse_suite(text, "small.toml").claims[0].plus[0]["normalizer"] == "group_norm(groups=8)"


def test_the_same_cells_on_both_sides_are_refused(spoiled: Spoiled) -> None:
    assert "the same cells stand on both sides, and cancel" in spoiled("ranks = 20 }", "ranks = 1, device = 'cpu' }")


def test_levels_of_two_normalizers_are_not_compared(spoiled: Spoiled) -> None:
    assert "compares levels of different normalizers" in spoiled(PLUS, PLUS.replace("batch_norm", "none"))


def test_sides_of_unequal_count_are_refused(spoiled: Spoiled) -> None:
    assert "needs as many plus as minus" in spoiled(PLUS, f"{PLUS[:-1]}, {PLUS[8:-1]}]")


def test_equal_within_nothing_is_refused(spoiled: Spoiled) -> None:
    assert "equal with margin 0" in spoiled('is = "higher"\nmargin = 0.01', 'is = "equal"')


def test_sides_without_a_common_seed_are_refused(small_text: str) -> None:
    other = small_text[small_text.index("[[grids]]") : small_text.index("[[grids]]", 60)]
    text = small_text.replace("ranks = [1, 20]", "ranks = [1]").replace(
        "[[claims]]", other.replace("[1, 20]", "[20]").replace("seed = 3", "seed = [7]") + "[[claims]]"
    )
    with pytest.raises(SuiteError, match="its sides have no seed in common"):
        parse_suite(text, "small.toml")


def test_two_claims_with_one_id_are_refused(small_text: str) -> None:
    claim = small_text[small_text.index("[[claims]]") : small_text.index("[[figures]]")]
    with pytest.raises(SuiteError, match=r"line 32: two claims have the id 'small_parts_hurt'; rename one"):
        parse_suite(small_text.replace("[[figures]]", f"{claim}[[figures]]", 1), "small.toml")


def test_a_thirteenth_claim_is_refused(small_text: str) -> None:
    claim = small_text[small_text.index("[[claims]]") : small_text.index("[[figures]]")]
    more = "".join(claim.replace("small_parts_hurt", f"claim_{number}") for number in range(12))
    with pytest.raises(SuiteError, match="claims: list should have at most 12 items"):
        parse_suite(small_text.replace("[[figures]]", f"{more}[[figures]]", 1), "small.toml")


def test_an_unknown_metric_names_the_nearest(spoiled: Spoiled) -> None:
    message = spoiled('metric = "test_accuracy"', 'metric = "test_acuracy"')
    assert message.startswith("small.toml, line 23: the claim 'small_parts_hurt': unknown metric 'test_acuracy'; did")
    assert "did you mean 'test_accuracy'?" in message


def test_a_metric_of_another_measure_is_asked_of_its_cells_only(spoiled: Spoiled) -> None:
    message = spoiled('metric = "test_accuracy"', 'metric = "step_ms"')
    assert "unknown setting 'ranks' of throughput" in message


def test_a_claim_of_speed_leaves_accuracy_cells_out(small_text: str) -> None:
    """`batch_norm` names cells of both measures here; the metric says which are meant."""
    text = small_text.replace('metric = "test_accuracy"', 'metric = "step_ms_ratio"')
    text = text.replace('shape = "64x8x8" }\n[grids.axes]', 'shape = "64x8x8" }\n[grids.axes]\nthreads = [1, 2]')
    text = text.replace("ranks = 1 }", "threads = 1 }").replace("ranks = 20 }", "threads = 2 }")
    assert parse_suite(text, "small.toml").claims[0].measure == "throughput"


def test_no_two_measures_share_a_metric() -> None:
    names = [metric for metrics in METRICS.values() for metric in metrics]
    assert len(names) == len(set(names))
    assert measure_of("no_such_metric") is None


def test_two_readings_of_the_same_cells_can_be_compared(small_text: str) -> None:
    text = small_text.replace(PLUS, 'plus = [{ normalizer = "batch_norm", ranks = 20, metric = "train_accuracy" }]')
    (claim,) = parse_suite(text, "small.toml").claims
    assert [(term.sign, term.metric) for term in claim.terms] == [(1, "train_accuracy"), (-1, "test_accuracy")]
    assert claim.terms[0].settings == {"normalizer": "batch_norm", "ranks": 20}


def test_a_sides_own_metric_must_be_one_of_the_same_measure(spoiled: Spoiled) -> None:
    message = spoiled(PLUS, f'{PLUS[:-3]}, metric = "step_ms" }}]')
    assert "unknown metric 'step_ms' of accuracy" in message


def test_what_a_source_reports_stands_with_the_claim_and_needs_a_grade(small_text: str, spoiled: Spoiled) -> None:
    told = 'margin = 0.01\npublished = { effect = 0.1, on = "ImageNet", grade = "primary" }'
    (claim,) = parse_suite(small_text.replace("margin = 0.01", told), "small.toml").claims
    assert claim.published is not None
    assert claim.published.effect == 0.1
    assert "grade" in spoiled("margin = 0.01", told.replace("primary", "hearsay"))


def test_a_batch_size_that_varies_needs_a_word_on_momentum(small_text: str) -> None:
    varied = small_text.replace(", batch_size = 40 }", " }").replace("ranks = [1, 20]\n", "batch_size = [40, 8]\n")
    varied = varied[: varied.index("[[claims]]")]
    with pytest.raises(SuiteError, match=r"batch_size varies \(8, 40\), and running statistics forget by the step"):
        parse_suite(varied, "small.toml")
    for said in ("steps", "samples(per=40)"):
        parse_suite(varied.replace("epochs = 1", f'epochs = 1, momentum_counts = "{said}"'), "small.toml")


def test_a_side_may_name_the_samples_per_statistic(small_text: str) -> None:
    text = small_text.replace(PLUS, 'plus = [{ normalizer = "batch_norm", local_batch = 40 }]')
    suite = parse_suite(text, "small.toml")
    assert side_cells(suite.cells(), suite.claims[0].plus[0]).keys() == {0, 1, 2}


def test_a_published_effect_in_points_instead_of_shares_is_told(spoiled: Spoiled) -> None:
    told = 'margin = 0.01\npublished = { effect = 10.6, on = "ImageNet", grade = "primary" }'
    assert "a difference from -1 to 1 (0.106 is 10.6 points), got 10.6" in spoiled("margin = 0.01", told)


READ_ONLY_WITH = {
    "test_accuracy_population": 'readings = "all"',
    "test_accuracy_batch": 'probe = "leak"',
    "train_eval_gap": 'readings = "all"',
    "test_accuracy_frozen": "epochs = 5, frozen_from = 0.8",
    "test_accuracy_ema": "ema = 0.9",
    "validation_accuracy": 'evaluate_on = "validation"',
    "validation_loss": 'evaluate_on = "validation"',
    "stream_accuracy": 'stream = "iid"',
    "stream_accuracy_batch": 'stream = "class_ordered"',
    "stream_accuracy_adabn": 'stream = "drifting"',
    "stream_accuracy_momentum": 'stream = "iid"',
    "test_accuracy_grouped": 'probe = "leak"',
    "label_leak": 'probe = "leak"',
    "gradient_footprint": 'probe = "leak"',
}


@pytest.mark.parametrize("metric", READ_ONLY_WITH)
def test_a_claim_on_a_reading_that_no_cell_makes_is_refused_until_a_setting_makes_it(
    small_text: str, spoiled: Spoiled, metric: str
) -> None:
    message = spoiled('metric = "test_accuracy"', f'metric = "{metric}"')
    assert message.startswith("small.toml, line 24: the claim 'small_parts_hurt': {normalizer = batch_norm, ranks = 1}")
    assert f"gives no {metric}; it needs " in message
    key = READ_ONLY_WITH[metric].rpartition(", ")[2].partition(" ")[0]
    assert key in message.partition("it needs ")[2]
    text = small_text.replace('metric = "test_accuracy"', f'metric = "{metric}"')
    text = text.replace("epochs = 1, ", "").replace(
        'model = "mlp"', f'model = "mlp", epochs = 1, {READ_ONLY_WITH[metric]}'
    )
    text = text.replace("epochs = 1, epochs = 5", "epochs = 5").partition("[[figures]]")[0]
    assert parse_suite(text, "small.toml").claims[0].metric == metric


def test_a_mean_of_ranks_is_read_where_there_are_ranks_of_which_one_is_kept(spoiled: Spoiled, small_text: str) -> None:
    message = spoiled('metric = "test_accuracy"', 'metric = "test_accuracy_mean_buffers"')
    assert "{normalizer = batch_norm, ranks = 1} gives no test_accuracy_mean_buffers; it needs ranks above 1" in message
    side = '{ normalizer = "batch_norm", ranks = 20, metric = "test_accuracy_mean_buffers" }'
    text = small_text.replace(PLUS, f"plus = [{side}]")
    parse_suite(text, "small.toml")
    with pytest.raises(SuiteError, match='it needs buffers = "rank0", with which they are another reading'):
        parse_suite(text.replace("epochs = 1", 'epochs = 1, buffers = "mean"'), "small.toml")


def test_a_test_accuracy_is_not_read_on_a_validation_part(spoiled: Spoiled) -> None:
    assert 'gives no test_accuracy; it needs evaluate_on = "test"' in spoiled(
        "epochs = 1", 'epochs = 1, evaluate_on = "validation"'
    )


def test_a_setting_that_lacks_two_things_is_told_both() -> None:
    settings = {"evaluate_on": "validation", "ema": 0.0}
    assert missing("test_accuracy_ema", settings) == 'evaluate_on = "test"; and ema above 0, such as ema = 0.99'
