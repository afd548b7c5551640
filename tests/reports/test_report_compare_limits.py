"""`--fail-on`: which limits can be written, which changes break them, and what is said of chance."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from normzoo_reports import compare
from normzoo_reports.comparing.limits import parse, rule
from normzoo_reports.comparing.outcomes import OUTCOMES
from normzoo_reports.comparing.results import Change
from normzoo_reports.comparing.ruling import Ruling
from normzoo_reports.statistics.signs import interval
from normzoo_suites import SuiteError


def change(metric: str, before: list[float], after: list[float], **told: Any) -> Change:
    """A change with these pairs, as shares of A's value where it is one of times or memory."""
    pairs = dict(enumerate(zip(before, after, strict=True)))
    how = OUTCOMES[metric].how
    steps = [math.log(b / a) if how == "ratio" else b - a for a, b in pairs.values()]
    shown = math.expm1 if how == "ratio" else float
    mean = shown(statistics.fmean(steps)) if steps else None
    low, high = map(shown, interval(steps) or ()) if len(steps) >= 6 else (None, None)
    in_a = statistics.fmean(before) if before else None
    known: dict[str, Any] = {"how": how, "low": low, "high": high, "tone": "differs"} | told
    return Change("throughput", metric, "batch_norm", "somewhere", pairs, a=in_a, b=None, change=mean, **known)


def ruled(limit: str, *changes: Change) -> Ruling:
    return rule(parse([limit]), changes)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step_ms", 'takes METRIC:LIMIT, such as "test_accuracy:-0.5pp" or'),
        ("test_acuracy:-0.5pp", "unknown metric 'test_acuracy'; did you mean 'test_accuracy'?"),
        ("chance_accuracy:-0.5pp", "unknown metric 'chance_accuracy'"),
        ("step_ms:5%", r"a limit is a sign, .* with % or in the metric's unit, such as step_ms:\+5%; got '5%'"),
        ("step_ms:+5 ms", "got '\\+5 ms'"),
        ("step_ms:+nan", "got '\\+nan'"),
        ("step_ms:", "got ''"),
        ("step_ms:+5pp", "is no share and has no percentage points"),
        ("test_accuracy:-5%", "is a share, so that a limit is in percentage points, such as test_accuracy:-0.5pp"),
        ("test_accuracy:-0.5", "is a share"),
        ("test_accuracy:+0.5pp", r"higher is better, and \+0.5pp would fail on that"),
        ("step_ms:-5%", "lower is better, and -5% would fail on that"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_told_with_one_that_can(text: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        parse([text])


@pytest.mark.parametrize("metric", OUTCOMES)
def test_the_limit_that_an_error_proposes_can_be_written(metric: str) -> None:
    with pytest.raises(SuiteError) as error:
        parse([f"{metric}:much"])
    proposed = str(error.value).partition("such as ")[2].partition(";")[0]
    assert parse([proposed])[0].metric == metric


def test_where_neither_way_is_better_both_signs_can_be_bad() -> None:
    assert [limit.sign for limit in parse(["train_eval_gap:+1pp", "train_eval_gap:-1pp"])] == [1, -1]


def test_a_minus_may_be_a_typographers_minus() -> None:
    assert parse(["test_accuracy: −0.5 pp"])[0].size == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("metric", "limit", "before", "after", "broken"),
    [
        ("test_accuracy", "-0.5pp", 0.9, 0.894, True),
        ("test_accuracy", "-0.5pp", 0.9, 0.895, False),  # at the limit, whatever the last bit says
        ("test_accuracy", "-0.5pp", 0.9, 0.95, False),
        ("test_accuracy", "-0pp", 0.9, 0.8999, True),
        ("test_accuracy", "-0pp", 0.9, 0.9, False),
        ("step_ms", "+5%", 2.0, 2.11, True),
        ("step_ms", "+5%", 2.0, 2.1, False),
        ("step_ms", "+5%", 2.0, 1.0, False),
        ("step_ms", "+0.2", 2.0, 2.3, True),
        ("step_ms", "+0.2", 2.0, 2.2, False),
        ("images_per_s", "-10%", 100.0, 89.0, True),
        ("largest_batch", "-8", 64.0, 55.0, True),
        ("kernels", "+0", 3.0, 4.0, True),
        ("kernels", "+50%", 3.0, 4.0, False),
        ("kernels", "+20%", 3.0, 4.0, True),
    ],
)
def test_a_change_breaks_a_limit_when_it_is_beyond_it_in_the_bad_direction(
    metric: str, limit: str, before: float, after: float, broken: bool
) -> None:
    assert bool(ruled(f"{metric}:{limit}", change(metric, [before], [after])).broken) is broken


def test_from_six_pairs_a_mean_beyond_the_limit_breaks_it_only_if_the_interval_holds_no_zero() -> None:
    """Both means are −1 point; one of six pairs going up takes the interval's upper end, the highest, above 0."""
    before = [0.9] * 6
    agreed = change("test_accuracy", before, [0.89] * 5 + [0.8899])
    split = change("test_accuracy", before, [0.87] * 5 + [0.99])
    assert [len(ruled("test_accuracy:-0.5pp", one).broken) for one in (agreed, split)] == [1, 0]
    ruling = ruled("test_accuracy:-0.3pp", split)
    assert [why for _, why in ruling.doubtful] == ["−1.00 points [−3.00, +9.00], 6 pairs"]
    assert ruling.outcome == "no regression"
    assert "in 1 the mean is beyond the limit and the interval holds no change" in ruling.text


def test_with_fewer_pairs_the_mean_decides_and_it_is_said() -> None:
    ruling = ruled("test_accuracy:-0.5pp", change("test_accuracy", [0.9] * 5, [0.87] * 4 + [1.0]))
    assert [why for _, why in ruling.broken] == []
    ruling = ruled("test_accuracy:-0.5pp", change("test_accuracy", [0.9] * 5, [0.87] * 4 + [0.95]))
    assert [why for _, why in ruling.broken] == ["−1.40 points, 5 pairs: the mean alone decides"]
    assert ruling.text.startswith("in 1 of 1 comparison; the mean alone decided, with fewer than 6 pairs")


def test_a_lost_value_breaks_every_limit_on_its_metric() -> None:
    better = change("step_ms", [2.0], [1.0], lost=(("out of memory", 1),), tone="lost")
    alone = change("step_ms", [], [], lost=(("crashed", 2),), tone="lost")
    ruling = ruled("step_ms:+500%", better, alone)
    assert [why for _, why in ruling.broken] == [
        "out of memory in B, where A has a value",
        "crashed (2) in B, where A has a value",
    ]


def test_changes_of_other_metrics_do_not_count() -> None:
    ruling = ruled("step_ms:+5%", change("step_ms", [2.0], [2.0]), change("step_ms_ratio", [1.0], [9.0]))
    assert (ruling.compared, ruling.broken) == (1, ())


def test_a_limit_on_what_a_has_no_value_of_is_an_error_and_no_pass() -> None:
    gained = change("peak_mib", [], [], gained=(("out of memory", 1),), tone="gained")
    with pytest.raises(SuiteError, match="no cell that both runs hold has a value of peak_mib in A; it has step_ms"):
        ruled("peak_mib:+5%", gained, change("step_ms", [1.0], [1.0]))


def test_what_chance_would_bring_is_said_for_those_with_an_interval() -> None:
    """40 intervals at 2.5 % on the bad side are 1; the one without an interval is not counted."""
    sure = change("test_accuracy", [0.9] * 6, [0.9, 0.91, 0.9, 0.91, 0.9, 0.91])
    ruling = ruled("test_accuracy:-0.5pp", *[sure] * 40, change("test_accuracy", [0.9], [0.9]))
    assert ruling.chance.startswith("40 intervals, none corrected for the others: if nothing had changed, at most 1 of")
    assert ruled("test_accuracy:-0.5pp", sure).chance == ""


def test_a_mistake_in_a_limit_is_told_before_any_run_is_read() -> None:
    with pytest.raises(SuiteError, match="unknown metric"):
        compare("nowhere", "nowhere either", ["speed:+5%"])
