"""Two runs side by side: what pairs, what is refused, what sets them apart, and what changed, by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import Comparison, compare, labels
from normzoo_reports.comparing.outcomes import OUTCOMES
from normzoo_suites import Cell, Suite, SuiteError, parse_suite
from normzoo_suites.metrics import METRICS

TIMED = """
name = "timed"
question = "How long do made-up steps take?"
protocol = 1
[[grids]]
measure = "throughput"
fixed = { shape = "64x8x8", batch_size = 4 }
[grids.axes]
normalizer = ["batch_norm"]
repeat = REPEATS
"""
SIX_LOWER = (-0.01, -0.02, -0.03, -0.04, -0.05, -0.06)
"""Their mean is -0.035; at n = 6 the interval goes from the lowest to the highest, since ⌊0.025·2⁶⌋ = 1."""

Make = Callable[..., Path]
Tiny = Callable[[int], Suite]


def accuracies(values: Sequence[float], told: dict[str, Any] | None = None) -> Callable[[Cell], dict[str, Any]]:
    """Measure batch norm on one rank with these accuracies, seed by seed, everything else with .9."""

    def measure(cell: Cell) -> dict[str, Any]:
        settings = cell.settings.model_dump()
        asked = settings["normalizer"] == "batch_norm" and settings["ranks"] == 1
        metrics = {"test_accuracy": values[settings["seed"]] if asked else 0.9, "chance_accuracy": 0.1}
        return {"metrics": metrics} | (told or {})

    return measure


def times(values: Sequence[float], spread: float | None = None) -> Callable[[Cell], dict[str, Any]]:
    """Time steps of so many ms, repeat by repeat, with samples that spread by so much around each."""

    def measure(cell: Cell) -> dict[str, Any]:
        value = values[cell.settings.replicate]
        ends = {} if spread is None else {"step_ms_p10": value - spread, "step_ms_p90": value + spread}
        return {"metrics": {"step_ms": value, **ends}}

    return measure


def timed_suite(repeats: int) -> Suite:
    return parse_suite(TIMED.replace("REPEATS", str(repeats)), "timed.toml")


def the(found: Comparison, metric: str = "test_accuracy", name: str = "batch_norm, ranks 1 (40 each)") -> Any:
    return next(one for one in found.changes if one.metric == metric and one.name == name)


@pytest.fixture
def two(make_run: Make) -> Callable[..., tuple[Path, Path]]:
    """Give a function that writes two runs of a suite, by what measures A and what measures B."""

    def make(suite: Suite, in_a: Any, in_b: Any) -> tuple[Path, Path]:
        return make_run(suite, in_a, name="a"), make_run(suite, in_b, name="b")

    return make


# what pairs


def test_a_run_held_against_itself_is_the_same_to_the_bit(quick_run: Path) -> None:
    found = compare(quick_run, quick_run, ["test_accuracy:-0pp", "step_ms:+0%"])
    assert found.headline == "The same records on both sides: nothing differs, to the bit."
    assert {one.tone for one in found.changes} == {"same"}
    assert {one.change_text for one in found.changes} == {"the same to the bit"}
    assert (found.differences, found.only_a, found.only_b, found.told, found.regressed) == ((), {}, {}, (), False)


def test_the_same_numbers_measured_twice_are_not_called_the_same_records(two: Any, tiny: Tiny) -> None:
    found = compare(*two(tiny(2), accuracies([0.9, 0.9]), accuracies([0.9, 0.9], {"seconds": 7.0})))
    assert found.headline == "The same code, versions and kind of machine, measured twice."
    assert {one.tone for one in found.changes} == {"same"}


def test_cells_of_one_run_alone_are_counted_and_named(make_run: Make, tiny: Tiny, measured: Any) -> None:
    """Ten seeds against eight: two more of each of six conditions."""
    a, b = make_run(tiny(10), measured, name="a"), make_run(tiny(8), measured, name="b")
    found = compare(a, b)
    assert found.pairs == 48
    assert (len(found.only_a), set(found.only_a.values()), found.only_b) == (6, {2}, {})
    assert found.only_a["accuracy, batch_norm, ranks 20 (2 each)"] == 2
    assert compare(b, a).only_b == found.only_a


def test_runs_of_suites_with_other_names_compare_where_they_share_cells(make_run: Make, tiny: Tiny) -> None:
    other = tiny(2).model_copy(update={"name": "other"})
    a, b = make_run(tiny(2), accuracies([0.9, 0.9]), name="a"), make_run(other, accuracies([0.9, 0.9]), name="b")
    found = compare(a, b)
    assert (found.a.suite, found.b.suite, found.pairs) == ("tiny", "other", 12)


def test_a_cell_that_is_the_same_computation_as_another_counts_once(quick_run: Path) -> None:
    """`quick` marks ranks 5 of the four normalizers that see no parts: one cell per seed each."""
    found = compare(quick_run, quick_run)
    assert found.shared == 40
    names = [one.name for one in found.changes if one.metric == "test_accuracy"]
    assert "group_norm, ranks 5 (8 each)" not in names
    assert "group_norm, ranks 20 (2 each)" in names


def test_values_of_a_that_b_does_not_hold_are_counted_with_each_limit(
    make_run: Make, tiny: Tiny, measured: Any
) -> None:
    """Else a gate would pass in silence on what was never compared."""
    a, b = make_run(tiny(10), measured, name="a"), make_run(tiny(8), measured, name="b")
    ruling = compare(a, b, ["test_accuracy:-0.5pp"]).rulings[0]
    assert (ruling.unpaired, ruling.broken) == (12, ())
    assert ruling.text.endswith("; 12 cells of A not compared, which B does not hold")


def test_conditions_that_were_tuned_to_other_values_do_not_pair_and_are_told(
    make_tuned_run: Make, tuned: Any, tmp_path: Path
) -> None:
    """The made-up trials find 0.4 best for batch norm in A; in B they find 0.05, and for group norm 0.1 in both."""

    def lower(trial: Cell) -> dict[str, Any]:
        best = 0.05 if trial.settings.normalizer == "batch_norm" else 0.1
        score = 0.9 - abs(trial.settings.model_dump()["learning_rate"] - best)
        return {"metrics": {"validation_accuracy": score, "validation_loss": 1 - score, "chance_accuracy": 0.1}}

    a = make_tuned_run(tuned(6)).rename(tmp_path / "a")
    b = make_tuned_run(tuned(6), trial=lower)
    assert not compare(a, a).warnings
    held = compare(a, b)
    assert "not pair: batch_norm (learning_rate 0.4 in A, 0.05 in B)" in held.warnings[0]
    assert held.only_a["accuracy, batch_norm, learning_rate 0.4, ranks 20 (2 each)"] == 6
    assert {one.normalizer for one in held.changes} == {"group_norm"}


# what is refused


def test_runs_of_different_protocols_are_refused(make_run: Make, tiny: Tiny, measured: Any) -> None:
    newer = tiny(2).model_copy(update={"protocol": 2})
    a, b = make_run(tiny(2), measured, name="a"), make_run(newer, measured, name="b")
    with pytest.raises(SuiteError, match=r"A is of protocol 1 \(suite tiny\), B of protocol 2 \(suite tiny\)"):
        compare(a, b)


def test_other_data_under_the_same_name_is_refused(two: Any, tiny: Tiny) -> None:
    runs = two(tiny(2), accuracies([1, 1], {"data_fingerprint": "aaa"}), accuracies([1, 1], {"data_fingerprint": "b"}))
    with pytest.raises(SuiteError, match="the data set digits is not the same data: fingerprint aaa in A, b in B"):
        compare(*runs)


def test_one_cell_on_other_data_is_refused_by_name(two: Any, tiny: Tiny) -> None:
    def first_elsewhere(cell: Cell) -> dict[str, Any]:
        where = "b" if cell.settings.replicate else "aaa"
        return accuracies([1, 1], {"data_fingerprint": where})(cell)

    with pytest.raises(SuiteError, match=r"cell [0-9a-f]{16} was measured on other data: the data set digits"):
        compare(*two(tiny(2), accuracies([1, 1], {"data_fingerprint": "aaa"}), first_elsewhere))


def test_folders_of_one_name_with_other_images_are_refused_by_their_name(make_run: Make, tiny: Tiny) -> None:
    def of(name: str) -> Suite:
        grid = tiny(2).grids[0]
        fixed = grid.fixed | {"dataset": name}
        return tiny(2).model_copy(update={"grids": [grid.model_copy(update={"fixed": fixed})], "claims": []})

    a = make_run(of("photos@1111"), accuracies([1, 1], {"data_fingerprint": "aaa"}), name="a")
    b = make_run(of("photos@2222"), accuracies([1, 1], {"data_fingerprint": "bbb"}), name="b")
    with pytest.raises(SuiteError, match="the data set photos is not the same data"):
        compare(a, b)


def test_runs_that_share_no_cell_are_told_in_what_the_nearest_differ(make_run: Make, tiny: Tiny) -> None:
    grid = tiny(2).grids[0]
    changed = grid.model_copy(update={"fixed": grid.fixed | {"epochs": 3, "model": "small_convnet"}})
    other = tiny(2).model_copy(update={"grids": [changed], "name": "longer"})
    a, b = make_run(tiny(2), accuracies([1, 1]), name="a"), make_run(other, accuracies([1, 1]), name="b")
    nearest = r"nearest two differ in model \(mlp in A, small_convnet in B\) and epochs \(1 in A, 3 in B\)$"
    with pytest.raises(SuiteError, match=r"A \(suite tiny\) and B \(suite longer\) share no cell; the " + nearest):
        compare(a, b)


def test_runs_that_measure_different_things_are_told_so(make_run: Make, tiny: Tiny) -> None:
    a, b = make_run(tiny(2), accuracies([1, 1]), name="a"), make_run(timed_suite(1), times([2.0]), name="b")
    with pytest.raises(SuiteError, match="share no cell: A measures accuracy, B throughput"):
        compare(a, b)


# what sets them apart

HERE = {"torch": "2.10.0", "cpu": "some processor", "code": "aaaa", "commit": "1" * 40}


@pytest.mark.parametrize(
    ("there", "headline"),
    [
        ({"torch": "2.11.0"}, "Other versions of torch."),
        ({"cpu": "another", "cores": 64}, "Two machines."),
        ({"code": "bbbb"}, "Other code, no normalizer's source among it."),
        ({"commit": "2" * 40, "dirty": True}, "The same code, versions and kind of machine, measured twice."),
        (
            {"torch": "2.11.0", "timm": "2", "cpu": "another"},
            "Two machines and other versions of torch and timm; which of these a change comes from cannot be told.",
        ),
    ],
)
def test_what_sets_two_runs_apart_is_said_on_top(two: Any, tiny: Tiny, there: dict[str, Any], headline: str) -> None:
    runs = two(tiny(2), accuracies([1, 1], {"environment": HERE}), accuracies([1, 1], {"environment": HERE | there}))
    found = compare(*runs)
    assert found.headline == headline
    assert {one.what for one in found.differences} == set(there)
    assert {one.pairs for one in found.differences} == {12}


def test_another_commit_is_other_code_where_no_hash_of_the_code_says_more(two: Any, tiny: Tiny) -> None:
    """Records had a hash over the code later than the commit."""
    here, there = {"commit": "1" * 40}, {"commit": "2" * 40}
    found = compare(
        *two(tiny(2), accuracies([1, 1], {"environment": here}), accuracies([1, 1], {"environment": there}))
    )
    assert found.headline.startswith("Other code")
    assert [one.text for one in found.differences] == ["commit 1111111 → 2222222"]


def test_a_plugin_whose_source_changed_is_named(two: Any, tiny: Tiny) -> None:
    def changed(cell: Cell) -> dict[str, Any]:
        return accuracies([1, 1], {"source_hash": "bbb" if cell.settings.normalizer == "group_norm" else "aaa"})(cell)

    found = compare(*two(tiny(2), accuracies([1, 1], {"source_hash": "aaa"}), changed))
    assert found.headline == "Another source of group_norm."
    assert [(one.text, one.pairs) for one in found.differences] == [("source of group_norm aaa → bbb", 6)]


def test_times_of_two_machines_and_slowed_ones_come_with_a_warning(two: Any) -> None:
    def slowed(cell: Cell) -> dict[str, Any]:
        told = {"environment": {"cpu": "another"}, "conditions": {"throttled": cell.settings.replicate == 0}}
        return times([2.0, 2.0])(cell) | told

    warnings = " / ".join(compare(*two(timed_suite(2), times([2.0, 2.0]), slowed)).warnings)
    assert "1 of 2 timed cells of B was throttled" in warnings
    assert "times in ms compare the machines" in warnings


# what changed


def test_every_metric_is_an_outcome_or_left_out_on_purpose() -> None:
    left_out = {"chance_accuracy", "local_batch", "fewest_mb", "batch_norm_collectives", "batch_norm_collective_ms"}
    every = {metric for metrics in METRICS.values() for metric in metrics}
    percentiles = {metric for metric in every if metric.endswith(("_p10", "_p90"))}
    assert set(OUTCOMES) == every - left_out - percentiles
    assert set(labels.METRICS) - left_out - percentiles <= set(OUTCOMES)


def test_the_change_is_the_mean_of_paired_differences_with_their_interval(two: Any, tiny: Tiny) -> None:
    before = [0.90, 0.91, 0.92, 0.93, 0.94, 0.95]
    after = [one + step for one, step in zip(before, SIX_LOWER, strict=True)]
    one = the(compare(*two(tiny(6), accuracies(before), accuracies(after))))
    assert (one.a, one.b, one.change) == pytest.approx((0.925, 0.89, -0.035))
    assert (one.low, one.high) == pytest.approx((-0.06, -0.01))
    assert (one.n, one.tone, one.change_text, one.range_text) == (6, "worse", "−3.50 points", "[−6.00, −1.00]")
    assert one.values == ("92.50 %", "89.00 %")


def test_a_change_of_time_is_the_geometric_mean_of_ratios(two: Any) -> None:
    """Five repeats twice as slow and one eight times as fast: 2⁵/8 = 4, and the sixth root of 4 is 1.26."""
    after = [2.0, 4.0, 2.0, 2.0, 4.0, 0.25]
    found = compare(*two(timed_suite(6), times([1.0, 2.0, 1.0, 1.0, 2.0, 2.0]), times(after)))
    one = the(found, "step_ms", "batch_norm")
    assert one.change == pytest.approx(4 ** (1 / 6) - 1)
    assert (one.low, one.high) == pytest.approx((1 / 8 - 1, 2 - 1))
    assert one.b / one.a == pytest.approx(1 + one.change)
    assert (one.tone, one.change_text) == ("open", "+26.0 %")


@pytest.mark.parametrize(
    ("metric", "factor", "tone"),
    [
        ("step_ms", 1.1, "worse"),
        ("step_ms", 0.9, "better"),
        ("images_per_s", 0.9, "worse"),
        ("batch_norm_step_ms", 1.1, "changed"),
        ("kernels", 2, "worse"),
        ("share_of_limit", 1.1, "better"),
    ],
)
def test_better_is_what_the_metric_says_it_is(two: Any, metric: str, factor: float, tone: str) -> None:
    def measure(times_: float) -> Callable[[Cell], dict[str, Any]]:
        return lambda cell: {"metrics": {metric: times_ * (1 + cell.settings.replicate / 100)}}

    assert the(compare(*two(timed_suite(6), measure(1.0), measure(factor))), metric, "batch_norm").tone == tone


def test_fewer_than_six_pairs_differ_and_have_no_interval(two: Any, tiny: Tiny) -> None:
    one = the(compare(*two(tiny(5), accuracies([0.9] * 5), accuracies([0.8] * 5))))
    assert (one.n, one.low, one.range_text, one.tone) == (5, None, "", "differs")


@pytest.mark.parametrize(("spread", "tone"), [(0.3, "open"), (0.2, "differs")])
def test_a_time_of_few_processes_differs_where_the_spreads_of_its_samples_do_not_meet(
    two: Any, spread: float, tone: str
) -> None:
    """2.0 and 2.5 ms: ± 0.3 overlaps, ± 0.2 does not."""
    runs = two(timed_suite(2), times([2.0, 2.0], spread), times([2.5, 2.5], spread))
    assert the(compare(*runs), "step_ms", "batch_norm").tone == tone


def test_a_value_of_nothing_has_no_ratio_and_is_told_as_a_difference(make_run: Make) -> None:
    suite = parse_suite(
        TIMED.replace("REPEATS", "6")
        .replace('"throughput"', '"memory"')
        .replace('shape = "64x8x8"', 'model = "mlp", image_size = 8'),
        "timed.toml",
    )

    def saved(value: float) -> Callable[[Cell], dict[str, Any]]:
        return lambda cell: {"metrics": {"saved_mib": value}}

    found = compare(make_run(suite, saved(0.0), name="a"), make_run(suite, saved(3.0), name="b"), ["saved_mib:+5%"])
    one = the(found, "saved_mib", "batch_norm")
    assert (one.how, one.change, one.change_text, one.tone) == ("plain", 3.0, "+3", "worse")
    assert found.regressed


def test_a_value_that_became_an_out_of_memory_is_lost_and_one_that_came_is_gained(two: Any, tiny: Tiny) -> None:
    def breaking(cell: Cell) -> dict[str, Any]:
        kept = cell.settings.replicate < 4
        return accuracies([0.9] * 6)(cell) if kept else {"status": "oom", "metrics": {}, "reason": "too large"}

    a, b = two(tiny(6), accuracies([0.9] * 6), breaking)
    lost, gained = the(compare(a, b)), the(compare(b, a))
    assert (lost.tone, lost.lost, lost.n) == ("lost", (("out of memory", 2),), 4)
    assert lost.notes == ("out of memory (2) in B, where A has a value",)
    assert (gained.tone, gained.gained, gained.n) == ("gained", (("out of memory", 2),), 4)


def test_a_diverged_run_counts_with_chance_and_is_told(two: Any, tiny: Tiny) -> None:
    def diverging(cell: Cell) -> dict[str, Any]:
        if cell.settings.replicate:
            return accuracies([0.9] * 2)(cell)
        return {"status": "diverged", "metrics": {"chance_accuracy": 0.1}}

    one = the(compare(*two(tiny(2), accuracies([0.9] * 2), diverging)))
    assert one.b == pytest.approx((0.1 + 0.9) / 2)
    assert one.notes == ("diverged, counted as chance: 0 in A, 1 in B",)


@pytest.mark.parametrize("after", [0.1 + 0.2, math.nextafter(0.3, 0)])
def test_what_differs_in_the_last_bit_alone_is_no_change_and_not_the_same(two: Any, tiny: Tiny, after: float) -> None:
    """0.1 + 0.2 is not 0.3, nor the same to the bit."""
    one = the(compare(*two(tiny(6), accuracies([0.3] * 6), accuracies([after] * 6))))
    assert (one.change, one.tone, one.change_text) == (0.0, "open", "0.00 points")


def test_a_change_that_rounding_would_hide_is_shown(two: Any, tiny: Tiny) -> None:
    one = the(compare(*two(tiny(2), accuracies([0.9, 0.9]), accuracies([0.90002, 0.90002]))))
    assert one.change_text == "+0.002 points"


def test_numbers_for_machines_hold_every_pair_and_nothing_that_json_lacks(two: Any, tiny: Tiny) -> None:
    import json

    found = compare(*two(tiny(2), accuracies([0.9, 0.8]), accuracies([0.7, 0.6])), ["test_accuracy:-1pp"])
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    one = next(c for c in told["changes"] if c["condition"].startswith("ranks 1 ") and c["normalizer"] == "batch_norm")
    assert one["pairs"] == {"0": [0.9, 0.7], "1": [0.8, 0.6]}
    assert math.isclose(one["change"], -0.2)
    assert (told["regression"], told["fail_on"][0]["outcome"], told["schema"]) == (True, "regression", 1)
