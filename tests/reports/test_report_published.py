"""Published effects beside measured ones: signs are compared, sizes never."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from normzoo_reports import Verdict, report, summary
from normzoo_suites import Cell, Claim, Suite

TEXT = {"effect": 0.111, "on": "ImageNet, ResNet-50, 32 to 2 per GPU", "grade": "figure"}


def verdict(effect: float | None, low: float | None, high: float | None, published: float, missing: int = 0) -> Verdict:
    claim = Claim.model_validate({
        "id": "one", "says": "x", "source": "y", "metric": "test_accuracy", "is": "higher",
        "plus": [{"ranks": 1}], "minus": [{"ranks": 2}], "published": TEXT | {"effect": published},
    })  # fmt: skip
    return Verdict(claim, "inconclusive", effect=effect, low=low, high=high, missing=("why",) * missing)


@pytest.mark.parametrize(
    ("measured", "published", "sign"),
    [
        ((0.3, 0.2, 0.4), 0.111, "same sign"),
        ((-0.3, -0.4, -0.2), -0.001, "same sign"),
        ((-0.3, -0.4, -0.2), 0.111, "other sign"),
        ((0.3, 0.2, 0.4), -0.111, "other sign"),
        ((0.1, -0.1, 0.3), 0.111, "not decided"),
        ((0.1, 0.0, 0.3), 0.111, "not decided"),
        ((0.3, None, None), 0.111, "not decided"),
        ((None, None, None), 0.111, "not decided"),
        ((0.3, 0.2, 0.4), 0.0, "not decided"),
    ],
)
def test_signs_are_compared_where_the_measured_interval_has_one(
    measured: tuple[float | None, float | None, float | None], published: float, sign: str
) -> None:
    assert verdict(*measured, published).published_sign == sign


def test_a_verdict_with_missing_pairs_decides_no_sign() -> None:
    assert verdict(0.3, 0.2, 0.4, 0.111, missing=1).published_sign == "not decided"


def test_the_published_effect_is_told_with_its_unit_its_place_and_its_grade() -> None:
    text = "+11.1 points on ImageNet, ResNet-50, 32 to 2 per GPU (read off a figure): same sign"
    assert verdict(0.3, 0.2, 0.4, 0.111).published_text == text


def test_a_claim_without_a_published_effect_tells_nothing_of_one(quick_page: Path) -> None:
    assert {one.published_text for one in summary(quick_page.parent).verdicts} == {""}
    assert "ublished" not in quick_page.read_text(encoding="utf-8")


def test_published_and_measured_stand_side_by_side_on_the_page(tuned_page: Path) -> None:
    head, _, rest = tuned_page.read_text(encoding="utf-8").partition("</header>")
    assert "published: +10.6 points (same sign)" in head
    assert "published: −3.5 points (other sign)" in head
    assert "+10.6 points: <b>same sign</b>" in rest
    assert "(<bdi>ImageNet, ResNet-50, 2 per GPU</bdi>; transcribed)" in rest
    assert "(<bdi>ImageNet, ResNet-50</bdi>; read off a figure)" in rest


def test_a_claim_on_two_readings_of_one_training_is_a_comparison(tuned_page: Path) -> None:
    """By construction population statistics are 1 point above running ones, and 0.01 more per seed."""
    found = summary(tuned_page.parent).verdicts[1]
    assert (found.outcome, found.effect_text) == ("supported", "+1.0 points [+1.0, +1.1], n = 8")
    assert found.metrics == ("test_accuracy_population", "test_accuracy")


def test_one_reading_of_one_training_on_both_sides_is_not_asked(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    suite = tuned(8)
    same = [{"normalizer": "batch_norm", "ranks": 20, "metric": "test_accuracy_population"}]
    claim = suite.claims[1].model_copy(update={"minus": same})
    found = summary(make_tuned_run(suite.model_copy(update={"claims": [claim]}))).verdicts[0]
    assert (found.outcome, found.reason) == ("not asked", "both sides are the same computation by design")


def test_a_term_without_its_own_metric_is_missing_by_that_metrics_name(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    def measure(cell: Cell) -> dict[str, dict[str, float]]:
        return {"metrics": {"test_accuracy_population": 0.9}}

    found = summary(make_tuned_run(tuned(2), measure=measure)).verdicts[1]
    assert found.missing == ("batch_norm: ok, without a test_accuracy (seed 0, 1)",)


def test_hostile_words_of_a_source_are_shown_and_never_obeyed(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    suite = tuned(1)
    assert suite.claims[0].published is not None
    evil = suite.claims[0].published.model_copy(update={"on": "<script>alert</script>"})
    changed = suite.model_copy(update={"claims": [suite.claims[0].model_copy(update={"published": evil})]})
    page = report(make_tuned_run(changed)).read_text(encoding="utf-8")
    assert page.count("<script>") == 1  # the page's own
    assert "&lt;script&gt;alert" in page
