"""Readings of one training: each once, side by side, and ranked only where paired seeds agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import Estimate, report, summary, words
from normzoo_reports.drawing.figures import show_figure
from normzoo_reports.findings.readings import Readings, readings
from normzoo_reports.load import load_frame
from normzoo_suites import Cell, Figure, Suite, change_suite, read_run

Measure = Callable[[Cell], dict[str, Any]]


@pytest.fixture
def read(make_run: Callable[..., Path], tiny: Callable[[int], Suite]) -> Callable[..., dict[str, Readings]]:
    """Give a function that measures the tiny suite, changed by settings, and gives the readings by condition."""

    def made(measure: Measure, seeds: int = 8, **settings: str) -> dict[str, Readings]:
        run = read_run(make_run(change_suite(tiny(seeds), settings), measure))
        return {one.condition: one for one in readings(run, load_frame(run))}

    return made


def row(one: Readings, name: str) -> dict[str, str]:
    cells = dict(zip(one.table.columns, dict(one.table.rows)[name], strict=True))
    return {key: cell.text if isinstance(cell, Estimate) else cell for key, cell in cells.items()}


def batch_norm_only(readings: Callable[[dict[str, Any]], dict[str, float]]) -> Measure:
    def measure(cell: Cell) -> dict[str, Any]:
        settings = cell.settings.model_dump()
        extra = readings(settings) if settings["normalizer"] == "batch_norm" else {}
        return {"metrics": {"test_accuracy": 0.8, "chance_accuracy": 0.1} | extra}

    return measure


def test_readings_stand_side_by_side_with_their_intervals(read: Callable[..., dict[str, Readings]]) -> None:
    measure = batch_norm_only(lambda _: {"test_accuracy_population": 0.9, "train_eval_gap": -0.05})
    assert row(read(measure)["ranks 20 (2 each)"], "batch_norm") == {
        "running statistics": "80.0 % [80.0, 80.0]",
        "population statistics": "90.0 % [90.0, 90.0]",
        "running less batch statistics": "−5.0 points [−5.0, −5.0]",
    }


def test_a_normalizer_with_one_reading_is_left_out(read: Callable[..., dict[str, Readings]]) -> None:
    found = read(batch_norm_only(lambda _: {"test_accuracy_population": 0.9}))
    assert [name for name, _ in found["ranks 1 (40 each)"].table.rows] == ["batch_norm"]


def test_without_another_reading_there_is_no_such_section(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    run = make_run(tiny(2), batch_norm_only(lambda _: {}))
    assert readings(read_run(run), load_frame(read_run(run))) == []
    assert 'id="readings"' not in report(run).read_text(encoding="utf-8")


def test_the_page_names_the_highest_and_the_lowest_reading(tuned_page: Path) -> None:
    """By construction population is 1 point above running statistics, and batch 5 below; mean buffers only at 20."""
    page = tuned_page.read_text(encoding="utf-8")
    assert "<p>batch_norm: highest with population statistics, lowest with batch statistics.</p>" in page
    assert "<p>batch_norm: highest with mean buffers, lowest with batch statistics.</p>" in page
    assert "batch statistics are those of the tested batch itself" in page
    assert "averaged weights" not in page


@pytest.mark.parametrize(("seeds", "said"), [(5, ()), (6, ("batch_norm: highest with population statistics, "
                                                          "lowest with running statistics.",))])  # fmt: skip
def test_too_few_seeds_rank_no_readings(
    read: Callable[..., dict[str, Readings]], seeds: int, said: tuple[str, ...]
) -> None:
    found = read(batch_norm_only(lambda _: {"test_accuracy_population": 0.9}), seeds)
    assert found["ranks 1 (40 each)"].found == said


def test_readings_are_compared_by_pairs_and_not_by_their_own_intervals(
    read: Callable[..., dict[str, Readings]],
) -> None:
    """The seeds scatter by 35 points, and each pair differs by one."""

    def measure(cell: Cell) -> dict[str, Any]:
        running = 0.5 + 0.05 * cell.settings.model_dump()["seed"]
        return {"metrics": {"test_accuracy": running, "test_accuracy_population": running + 0.01}}

    told = "batch_norm, group_norm: highest with population statistics, lowest with running statistics."
    assert read(measure)["ranks 1 (40 each)"].found == (told,)


def test_readings_whose_order_depends_on_the_seed_are_not_ranked(read: Callable[..., dict[str, Readings]]) -> None:
    measure = batch_norm_only(lambda settings: {"test_accuracy_population": 0.8 + 0.1 * (-1) ** settings["seed"]})
    assert read(measure)["ranks 1 (40 each)"].found == ()


def test_a_reading_is_the_highest_only_if_it_is_above_every_other(read: Callable[..., dict[str, Readings]]) -> None:
    """Population and frozen statistics tie, and running ones are below both."""
    equal = {"test_accuracy_population": 0.9, "test_accuracy_frozen": 0.9}
    found = read(batch_norm_only(lambda _: equal), epochs="10", frozen_from="0.8")
    assert found["ranks 1 (40 each)"].found == ("batch_norm: lowest with running statistics.",)


def test_batch_statistics_stand_by_eval_batch_size_and_the_rest_once(
    read: Callable[..., dict[str, Readings]],
) -> None:
    """Cells that differ in eval_batch_size alone are one training; as repeats they would have no interval."""
    measure = batch_norm_only(lambda settings: {"test_accuracy_batch": 0.5 + 0.01 * settings["eval_batch_size"]})
    found = read(measure, readings="all", eval_batch_size="0,2,32")
    assert set(found) == {"ranks 1 (40 each)", "ranks 5 (8 each)", "ranks 20 (2 each)"}
    assert row(found["ranks 1 (40 each)"], "batch_norm") == {
        "running statistics": "80.0 % [80.0, 80.0]",
        "batch statistics, as in training": "50.0 % [50.0, 50.0]",
        "batch statistics of 2 samples": "52.0 % [52.0, 52.0]",
        "batch statistics of 32 samples": "82.0 % [82.0, 82.0]",
    }


def test_test_accuracy_counts_every_training_once(make_run: Callable[..., Path], tiny: Callable[[int], Suite]) -> None:
    suite = change_suite(tiny(6), {"readings": "all", "eval_batch_size": "2,32"})
    run = make_run(suite)
    found = summary(run).accuracy
    assert found is not None
    assert found.columns == ("ranks 1 (40 each)", "ranks 5 (8 each)", "ranks 20 (2 each)")
    first = found.rows[0][1][0]
    assert not isinstance(first, str)
    assert first.notes == ["6 seeds"]
    shown = show_figure(suite.figures[0], read_run(run), load_frame(read_run(run)))
    assert shown.caption.startswith("Marks are means over seeds")


def test_a_figure_of_batch_statistics_tells_eval_batch_sizes_apart_or_says_so(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    measure = batch_norm_only(lambda settings: {"test_accuracy_batch": 0.5 + 0.01 * settings["eval_batch_size"]})
    run = read_run(make_run(change_suite(tiny(6), {"readings": "all", "eval_batch_size": "2,32"}), measure))
    lumped = Figure(kind="line", x="ranks", y="test_accuracy_batch")
    apart = Figure(kind="line", x="ranks", y="test_accuracy_batch", facet="eval_batch_size")
    captions = [show_figure(figure, run, load_frame(run)).caption for figure in (lumped, apart)]
    assert "differ in eval_batch_size" in captions[0]
    assert captions[1].startswith("Marks are means over seeds")


def diverged_or(cell: Cell, metrics: dict[str, float]) -> dict[str, Any]:
    if cell.settings.model_dump()["seed"] == 0:
        return {"status": "diverged", "reason": "not finite", "metrics": {"chance_accuracy": 0.1}}
    return {"metrics": {"test_accuracy": 0.8, "chance_accuracy": 0.1} | metrics}


def frame(folder: Path) -> Any:
    rows = load_frame(read_run(folder))
    return rows[rows["status"] == "diverged"]


def test_a_diverged_run_has_chance_accuracy_and_no_gap(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    suite = change_suite(tiny(2), {"readings": "all"})
    every = {"test_accuracy_population": 0.9, "train_eval_gap": -0.05}
    rows = frame(make_run(suite, lambda cell: diverged_or(cell, every)))
    assert set(rows["test_accuracy_population"]) == {0.1}
    assert rows["train_eval_gap"].isna().all()


def test_a_diverged_run_has_no_reading_that_was_not_asked_of_it(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    suite = change_suite(tiny(2), {"epochs": "10", "frozen_from": "0.8,1"})
    rows = frame(make_run(suite, lambda cell: diverged_or(cell, {"test_accuracy_frozen": 0.9})))
    assert set(rows.loc[rows["frozen_from"] == 0.8, "test_accuracy_frozen"]) == {0.1}
    assert rows.loc[rows["frozen_from"] == 1, "test_accuracy_frozen"].isna().all()


def test_a_run_on_the_validation_part_is_told_by_its_own_accuracy(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    suite = change_suite(tiny(2), {"evaluate_on": "validation"}).model_copy(update={"claims": [], "figures": []})

    def measure(cell: Cell) -> dict[str, Any]:
        gone = diverged_or(cell, {})
        return gone if gone.get("status") else {"metrics": {"validation_accuracy": 0.7, "chance_accuracy": 0.1}}

    found = summary(make_run(suite, measure)).accuracy
    assert found is not None
    assert found.metric == "validation_accuracy"
    first = found.rows[0][1][0]
    assert not isinstance(first, str)
    assert first.value == pytest.approx(0.4)


def test_diverged_runs_rank_no_readings(read: Callable[..., dict[str, Readings]]) -> None:
    """Seven seeds of which two diverged leave five pairs, too few for an interval."""

    def measure(cell: Cell) -> dict[str, Any]:
        if cell.settings.model_dump()["seed"] < 2:
            return {"status": "diverged", "reason": "not finite", "metrics": {"chance_accuracy": 0.1}}
        return {"metrics": {"test_accuracy": 0.8, "test_accuracy_population": 0.9, "chance_accuracy": 0.1}}

    assert read(measure, 7, readings="all")["ranks 1 (40 each)"].found == ()


def test_a_gap_is_drawn_in_points_from_zero_and_without_chance(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    figure = Figure(kind="bar", x="ranks", y="train_eval_gap")
    run = read_run(make_run(tiny(6), batch_norm_only(lambda _: {"train_eval_gap": -0.05})))
    drawn = show_figure(figure, run, load_frame(run)).drawing.svg("f1")
    assert "running less batch statistics (points)" in drawn
    assert ">−5<" in drawn
    assert "chance" not in drawn
    assert "%" not in drawn.partition("</style>")[2]


@pytest.mark.parametrize(("value", "text"), [(0.0312, "+3.1 points"), (-0.002, "−0.2 points"), (0, "0.0 points")])
def test_a_gap_is_told_in_points_with_its_sign(value: float, text: str) -> None:
    assert words.show("train_eval_gap", value) == text
    assert words.show_change("train_eval_gap", value) == text


def test_an_interval_of_a_gap_names_no_unit() -> None:
    assert words.show_range("train_eval_gap", -0.031, 0.002) == "[−3.1, +0.2]"
