"""Numbers that no machine measured: a page says so where it would show them, and is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import compare, export, report, summary
from normzoo_suites import Cell, Suite, parse_suite

HUGE = 1.7e308
MODELS = """
name = "models"
question = "What do models cost?"
protocol = 1
[[grids]]
measure = "{measure}"
fixed = {{ model = "timm/resnet18", batch_size = 8 }}
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
repeat = 6
"""
METRICS = {
    "model_throughput": ("model_step_ms", "model_step_ms_ratio", "batch_norm_model_step_ms", "model_images_per_s"),
    "memory": ("peak_mib", "saved_mib", "model_mib"),
    "sync_cost": ("sync_step_ms", "sync_step_ms_ratio", "batch_norm_sync_step_ms", "collective_ms"),
}


def test_numbers_whose_sum_has_no_number_are_called_too_large(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    def some(cell: Cell) -> dict[str, Any]:
        told = measured(cell)
        if (cell.settings.normalizer, cell.settings.ranks) == ("group_norm", 5):
            told["metrics"]["test_accuracy"] = HUGE
        return told

    run = make_run(tiny(6), some)
    accuracy = summary(run).accuracy
    assert accuracy is not None
    assert dict(accuracy.rows)["group_norm"][1] == "too large (6)"
    assert ">too large (6)<" in report(run).read_text(encoding="utf-8")


def test_a_mean_leaves_out_what_is_too_large_and_says_so(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    def some(cell: Cell) -> dict[str, Any]:
        told = measured(cell)
        told["metrics"]["test_accuracy"] = HUGE if cell.settings.replicate == 3 else 0.5
        return told

    accuracy = summary(make_run(tiny(6), some)).accuracy
    assert accuracy is not None
    found = dict(accuracy.rows)["group_norm"][0]
    assert not isinstance(found, str)
    assert (found.value, found.n, found.absent) == (0.5, 5, 1)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_run_of_such_numbers_alone_is_a_page_a_table_and_a_comparison(
    make_run: Callable[..., Path],
    tiny: Callable[[int], Suite],
    measured: Callable[[Cell], Any],
    tmp_path: Path,
    sign: int,
) -> None:
    def all_of(cell: Cell) -> dict[str, Any]:
        told = measured(cell)
        return told | {"metrics": dict.fromkeys(told["metrics"], sign * HUGE)}

    a, b = make_run(tiny(6), all_of, name="a"), make_run(tiny(6), measured, name="b")
    assert report(a).exists()
    assert compare(a, b, [], tmp_path / "compare.html").changes
    assert str(sign * HUGE) in export(a, tmp_path / "a.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("measure", METRICS)
def test_what_is_timed_or_weighed_beyond_all_numbers_is_a_page(make_run: Callable[..., Path], measure: str) -> None:
    suite = parse_suite(MODELS.format(measure=measure), "models.toml")
    run = make_run(suite, lambda cell: {"metrics": dict.fromkeys(METRICS[measure], HUGE)})
    assert f'id="{measure}"' in report(run).read_text(encoding="utf-8")


def test_trials_that_score_beyond_all_numbers_are_shown(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    told = {"metrics": {"validation_accuracy": HUGE, "validation_loss": HUGE, "chance_accuracy": 0.1}}
    assert 'id="tuning"' in report(make_tuned_run(tuned(6), trial=lambda trial: told)).read_text(encoding="utf-8")


def test_a_level_beyond_all_accuracies_is_still_one_of_a_few(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    """A table of levels 20 points apart would have 10⁹⁹ columns."""
    page = report(make_run(tiny(6), lambda cell: {"metrics": {"test_accuracy": 1e99 * cell.settings.replicate}}))
    assert 2 <= page.read_text(encoding="utf-8").count("<th>above ") <= 8


def test_a_time_that_grew_beyond_all_ratios_is_compared_as_a_difference(
    make_run: Callable[..., Path], quick: Suite, measured: Callable[[Cell], Any]
) -> None:
    def timed(value: float) -> Callable[[Cell], dict[str, Any] | None]:
        def measure(cell: Cell) -> dict[str, Any] | None:
            return {"metrics": {"step_ms": value}} if cell.measure == "throughput" else None

        return measure

    found = compare(make_run(quick, timed(5e-324), name="a"), make_run(quick, timed(1e99), name="b"))
    assert {change.how for change in found.changes} == {"plain"}
