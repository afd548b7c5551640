"""What measures other than accuracy say: a table per metric, by the conditions that ask for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from normzoo_reports import report, words
from normzoo_reports.findings.insights import Insight, insights
from normzoo_reports.load import load_frame
from normzoo_suites import Cell, parse_suite, read_run
from normzoo_suites.readings import missing
from normzoo_suites.settings import DemonstrationSettings

SUITE = """
name = "shown"
question = "What do made-up numbers show?"
protocol = 1
[[grids]]
measure = "demonstration"
fixed = { batch_size = 8 }
[grids.axes]
shows = ["undone", "two_batches"]
normalizer = ["batch_norm", "group_norm"]
[[grids]]
measure = "demonstration"
fixed = { batch_size = 8, shows = "scale", normalizer = "batch_norm" }
axes = { factor = [2, 4] }
[[figures]]
kind = "line"
measure = "demonstration"
x = "factor"
y = "scaled_gradient"
where = { shows = ["scale"] }
"""


def measured(cell: Cell) -> dict[str, object]:
    if (cell.settings.normalizer, getattr(cell.settings, "shows", "")) == ("group_norm", "two_batches"):
        return {"status": "skipped", "reason": "it cannot"}
    told = [one for one in type(cell.settings).METRICS if not missing(one, dict(cell.settings))]
    return {"metrics": dict.fromkeys(told, 0.5)}


@pytest.fixture
def shown(make_run: Callable[..., Path]) -> Insight:
    run = read_run(make_run(parse_suite(SUITE, "shown.toml"), measured))
    (one,) = insights(run, load_frame(run))
    return one


def test_every_metric_that_is_asked_for_has_a_table_in_the_order_of_the_measure(shown: Insight) -> None:
    told = [table.metric for table in shown.tables]
    assert told == [one for one in DemonstrationSettings.METRICS if one.startswith(("undone", "means", "scaled"))]


def test_a_table_has_the_conditions_that_ask_for_its_metric_and_what_tells_them_apart(shown: Insight) -> None:
    columns = {table.metric: table.columns for table in shown.tables}
    assert columns["undone_error"] == ("",)
    assert columns["scaled_gradient"] == ("factor 2", "factor 4")


def test_what_was_skipped_is_shown_where_it_was_asked(shown: Insight) -> None:
    table = next(table for table in shown.tables if table.metric == "means_apart_after")
    assert dict(table.rows)["group_norm"] == ("skipped",)


def test_the_ticks_of_an_axis_in_decades_are_numbers_and_no_formulas(make_run: Callable[..., Path]) -> None:
    page = report(make_run(parse_suite(SUITE, "shown.toml"), measured)).read_text(encoding="utf-8")
    assert "mathdefault" not in page


def test_a_drop_by_a_forgotten_eval_is_told_in_points_with_its_sign() -> None:
    assert words.show("forgotten_eval_drop", 0.187) == "+18.7 points"
    assert words.is_share("forgotten_eval_accuracy")
    assert not words.has_chance("forgotten_eval_drop")
