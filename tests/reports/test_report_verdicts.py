"""Claims on made-up records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import Verdict, report, summary, words
from normzoo_suites import Cell, Suite, change_suite
from normzoo_suites.metrics import METRICS

Change = dict[tuple[str, int, int], dict[str, Any]]


def verdicts(folder: Path) -> dict[str, Verdict]:
    return {verdict.claim.id: verdict for verdict in summary(folder).verdicts}


def level(cell: Cell) -> tuple[str, int, int]:
    return cell.settings.normalizer, cell.settings.ranks, cell.settings.seed


@pytest.fixture
def judged(make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]) -> Any:
    """Give the verdicts of a run of the tiny suite in which some cells measured something else, or nothing."""

    def judge(change: Change | None = None, seeds: int = 10) -> dict[str, Verdict]:
        def measure(cell: Cell) -> dict[str, Any] | None:
            told = (change or {}).get(level(cell), {})
            return None if told is None else measured(cell) | told

        return verdicts(make_run(tiny(seeds), measure))

    return judge


def accuracies(values: dict[tuple[str, int], list[float]]) -> Change:
    return {
        (name, ranks, seed): {"metrics": {"test_accuracy": value, "chance_accuracy": 0.1}}
        for (name, ranks), row in values.items()
        for seed, value in enumerate(row)
    }


def test_a_claim_that_holds_is_supported(judged: Any) -> None:
    found = judged()["two_samples_hurt"]
    assert (found.outcome, found.reason) == ("supported", "")
    assert found.effect == pytest.approx(0.36, abs=0.05)


def test_a_claim_whose_opposite_holds_is_refuted(judged: Any) -> None:
    assert judged()["eight_samples_hurt_group_norm"].outcome == "refuted"


def test_an_equal_claim_is_supported_when_the_difference_is_within_the_margin(judged: Any) -> None:
    assert judged()["eight_samples_are_enough"].outcome == "supported"


@pytest.mark.parametrize("ranks", [1, 5])
def test_an_equal_claim_is_refuted_when_the_difference_is_beyond_the_margin_on_either_side(
    judged: Any, ranks: int
) -> None:
    assert judged(accuracies({("batch_norm", ranks): [0.7] * 10}))["eight_samples_are_enough"].outcome == "refuted"


def test_a_claim_that_scatters_around_its_margin_is_inconclusive(judged: Any) -> None:
    wild = [0.98 + (-1) ** seed * 0.1 for seed in range(10)]
    found = judged(accuracies({("batch_norm", 20): wild}))["two_samples_hurt"]
    assert found.outcome == "inconclusive"
    assert "Holm" in found.reason


def test_an_inconclusive_claim_says_how_many_pairs_it_would_have_needed_on_the_page_and_first_of_all(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    wild = accuracies({("batch_norm", 20): [0.98 - 0.03 * (seed % 4) + 0.02 * (seed % 3) for seed in range(10)]})
    folder = make_run(tiny(10), lambda cell: measured(cell) | wild.get(level(cell), {}))
    found = verdicts(folder)["two_samples_hurt"]
    assert (found.outcome, len(found.differences)) == ("inconclusive", 10)
    assert found.needed is not None
    assert found.needed_text == f"would have needed about {found.needed.pairs} pairs to be supported"
    page = report(folder).read_text(encoding="utf-8")
    assert page.count(found.needed_text) == 2
    assert page.index(found.needed_text) < page.index("<main>")


@pytest.mark.parametrize("status", ["ok", "crashed"])
def test_a_claim_that_is_decided_or_lacks_a_pair_says_nothing_of_pairs_needed(judged: Any, status: str) -> None:
    change = {} if status == "ok" else {("batch_norm", 20, 3): {"status": status, "reason": "it broke", "metrics": {}}}
    found = judged(change)["two_samples_hurt"]
    assert (found.needed, found.needed_text) == (None, "")


def test_too_few_seeds_are_inconclusive_and_the_needed_number_is_named(judged: Any) -> None:
    found = judged(seeds=6)["two_samples_hurt"]
    assert found.outcome == "inconclusive"
    assert found.reason == "6 pairs cannot decide one of 3 claims; it takes 7"


def test_seven_seeds_decide_one_of_three_claims_with_the_smallest_p(judged: Any) -> None:
    found = judged(seeds=7)["two_samples_hurt"]
    assert found.outcome == "supported"
    assert found.raw_p_for == 2**-7
    assert found.p_for == pytest.approx(6 * 2**-7)


@pytest.mark.parametrize("status", ["crashed", "timeout", "oom", "error"])
def test_a_pair_with_a_failed_side_makes_the_verdict_inconclusive(judged: Any, status: str) -> None:
    found = judged({("batch_norm", 20, 3): {"status": status, "reason": "it broke", "metrics": {}}})["two_samples_hurt"]
    assert (found.outcome, found.reason, found.n) == ("inconclusive", "1 pair missing", 9)
    assert "it broke (seed 3)" in found.missing[0]


def test_a_pair_that_is_not_measured_yet_is_missing(judged: Any) -> None:
    found = judged({("batch_norm", 1, seed): None for seed in (2, 3, 4)})["two_samples_hurt"]
    assert (found.reason, found.missing) == ("3 pairs missing", ("batch_norm: not measured yet (seed 2 to 4)",))


def test_a_skipped_side_is_missing_with_its_reason(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    def skip(cell: Cell) -> dict[str, Any]:
        return {"skip": "one value per statistic"} if level(cell)[:2] == ("batch_norm", 20) else {}

    run = make_run(tiny(10), lambda cell: None if skip(cell) else measured(cell), skip)
    found = verdicts(run)["two_samples_hurt"]
    assert (found.outcome, found.reason, found.effect) == ("inconclusive", "10 pairs missing", None)
    assert "one value per statistic (seed 0 to 9)" in found.missing[0]


def test_a_metric_that_no_record_has_is_missing_and_named(judged: Any) -> None:
    none = {
        ("batch_norm", ranks, seed): {"metrics": {"chance_accuracy": 0.1}} for ranks in (1, 20) for seed in range(10)
    }
    assert "without a test_accuracy" in judged(none)["two_samples_hurt"].missing[0]


def test_a_diverged_run_counts_with_chance_accuracy(judged: Any) -> None:
    diverged = {"status": "diverged", "reason": "not finite", "metrics": {"chance_accuracy": 0.1}}
    values = accuracies({("batch_norm", 1): [0.9] * 10}) | {("batch_norm", 20, seed): diverged for seed in range(10)}
    found = judged(values)["two_samples_hurt"]
    assert (found.outcome, found.diverged) == ("supported", 10)
    assert found.effect == pytest.approx(0.8)


DIVERGED = {"status": "diverged", "reason": "not finite", "metrics": {"chance_accuracy": 0.1}}


def test_pairs_that_diverged_on_both_sides_are_missing_and_decide_nothing(judged: Any) -> None:
    """Chance less chance is 0, which would support an equal claim."""
    found = judged({("batch_norm", ranks, seed): DIVERGED for ranks in (1, 5) for seed in range(10)})
    verdict = found["eight_samples_are_enough"]
    assert (verdict.outcome, verdict.reason, verdict.effect) == ("inconclusive", "10 pairs missing", None)
    assert verdict.missing == ("both sides diverged (seed 0 to 9)",)


def test_a_pair_that_diverged_on_one_side_counts_beside_one_that_diverged_on_both(judged: Any) -> None:
    change = {("batch_norm", 20, seed): DIVERGED for seed in (3, 4)} | {("batch_norm", 1, 3): DIVERGED}
    found = judged(change)["two_samples_hurt"]
    assert (found.n, found.diverged, found.missing) == (9, 1, ("both sides diverged (seed 3)",))


@pytest.mark.parametrize(
    ("seeds", "told"),
    [((), ""), ((2,), "; 1 of 10 pairs hold a diverged run"), ((2, 5), "; 2 of 10 pairs hold a diverged run")],
)
def test_an_effect_says_how_many_of_its_pairs_hold_a_diverged_run(
    judged: Any, seeds: tuple[int, ...], told: str
) -> None:
    found = judged({("batch_norm", 20, seed): DIVERGED for seed in seeds})["two_samples_hurt"]
    assert found.effect_text.endswith(f", n = 10{told}")


def test_a_claim_with_a_missing_pair_does_not_loosen_the_correction_of_the_others(judged: Any) -> None:
    """One of six hypotheses has a smaller p, so this counts five times; the undecidable claim's p is smaller too."""
    values = accuracies({("batch_norm", 1): [0.9] * 10, ("batch_norm", 5): [0.9] * 10})
    values |= accuracies({("batch_norm", 20): [0.5] * 8 + [0.95] * 2, ("group_norm", 5): [0.99] * 10})
    found = judged(values | {("group_norm", 1, 0): None})
    assert found["eight_samples_hurt_group_norm"].raw_p_against == 2**-9
    assert found["two_samples_hurt"].raw_p_for == pytest.approx(4 * 2**-10)
    assert found["two_samples_hurt"].p_for == pytest.approx(5 * found["two_samples_hurt"].raw_p_for)


def test_levels_that_cancel_but_for_rounding_are_no_difference(judged: Any) -> None:
    values = accuracies({("batch_norm", 1): [0.1 + 0.2] * 10, ("batch_norm", 20): [0.3] * 10})
    found = judged(values)["two_samples_hurt"]
    assert (found.effect, found.low, found.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"normalizers": ["group_norm"]}, "matches no cell"),
        ({"settings": {"epochs": "1,2"}}, "differ in epochs"),
    ],
)
def test_a_claim_that_the_run_cannot_answer_is_not_asked(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], changes: dict[str, Any], reason: str
) -> None:
    found = verdicts(make_run(change_suite(tiny(10), **changes)))["two_samples_hurt"]
    assert found.outcome == "not asked"
    assert reason in found.reason


@pytest.mark.parametrize("measured_again", [True, False])
def test_a_claim_whose_sides_are_one_computation_is_not_asked(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured_again: bool
) -> None:
    suite = tiny(10)
    ids = {level(cell): cell.id for cell in suite.cells()}

    def same(cell: Cell) -> dict[str, Any]:
        name, ranks, seed = level(cell)
        first = ids[name, 1, seed]
        twin = {"twin_of": first, "same_as": None if measured_again else first}
        return twin if (name, ranks) == ("group_norm", 5) else {}

    found = verdicts(make_run(suite, change=same))["eight_samples_hurt_group_norm"]
    assert (found.outcome, found.reason) == ("not asked", "both sides are the same computation by design")


def test_every_claim_of_quick_is_decided_on_numbers_like_the_real_ones(quick_run: Path) -> None:
    assert {verdict.outcome for verdict in summary(quick_run).verdicts} == {"supported"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e30, "1e+30"), (1e-30, "1e-30"), (2**53 - 1, "9007199254740991"), (40.0, "40"), (0.0005, "0.0005"), ("x", "x")],
)
def test_a_setting_is_told_without_a_row_of_zeros(value: Any, text: str) -> None:
    assert words.show_value(value) == text


@pytest.mark.parametrize(("value", "text"), [(1e30, "1e+30×"), (0.00123, "0.00123×"), (1.619, "1.62×")])
def test_a_ratio_is_told_without_a_row_of_zeros(value: float, text: str) -> None:
    assert words.show("step_ms_ratio", value) == text


def test_an_interval_names_no_unit() -> None:
    """Its value beside it does."""
    assert words.show_range("step_ms_ratio", 1.41, 1.85) == "[1.41, 1.85]"
    assert words.show_range("test_accuracy", 0.972, 1.0) == "[97.2, 100.0]"


def test_every_metric_that_has_words_is_one_that_a_measure_gives() -> None:
    assert set(words.METRICS) <= {metric for metrics in METRICS.values() for metric in metrics}


@pytest.mark.parametrize(("value", "text"), [(0.0123, "+1.2 points"), (-0.5, "−50.0 points"), (-0.0004, "0.0 points")])
def test_a_change_of_accuracy_is_told_in_points_and_none_has_no_sign(value: float, text: str) -> None:
    assert words.show_change("test_accuracy", value) == text


def test_claims_that_are_not_asked_are_one_line_with_their_reasons(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    run = make_run(change_suite(tiny(10), normalizers=["group_norm"]))
    found = summary(run)
    assert [verdict.claim.id for verdict in found.asked] == ["eight_samples_hurt_group_norm"]
    assert found.not_asked == (
        "2 claims not asked: two_samples_hurt, eight_samples_are_enough (a side matches no cell)"
    )
    page = report(run).read_text(encoding="utf-8")
    assert "<summary>2 claims not asked of this run</summary>" in page
    assert page.count("{normalizer = batch_norm, ranks = 1} matches no cell") == 1
    assert 'id="claim-two_samples_hurt"' not in page
    assert 'id="claim-eight_samples_hurt_group_norm"' in page


def test_where_every_claim_is_asked_nothing_is_said_of_others(quick_run: Path) -> None:
    assert summary(quick_run).not_asked == ""
    assert "claims not asked" not in report(quick_run).read_text(encoding="utf-8")


def test_a_claim_on_a_reading_that_the_command_line_switched_off_is_not_asked(
    make_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    suite = change_suite(tuned(8), {"readings": "running", "learning_rate": "0.1"})
    assert 'gives no test_accuracy_population; it needs readings = "all"' in summary(make_run(suite)).not_asked


def test_a_claim_says_what_is_subtracted_from_what_defaults_among_it(quick_run: Path) -> None:
    told = {verdict.claim.id: verdict.sides for verdict in summary(quick_run).verdicts}
    sides = [one for one in told.values() if "exclusive_classes" in one and one.startswith("batch_norm")]
    assert sides == ["batch_norm (ranks 5, iid) less batch_norm (ranks 5, exclusive_classes)"]
