"""Accuracy against training speed: who is on the front, by hand-computed numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import figures, report
from normzoo_reports.drawing.pareto import pareto
from normzoo_reports.findings.pareto import Tradeoff, tradeoff
from normzoo_reports.load import load_frame
from normzoo_suites import Cell, Suite, parse_suite, read_run

BOTH = """
name = "both"
question = "What do made-up numbers say of accuracy and speed?"
protocol = 1
[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 1, batch_size = 40 }
[grids.axes]
normalizer = ["batch_norm", "group_norm", "layer_norm", "none"]
ranks = RANKS
seed = 6
"""
LAYERS = """
[[grids]]
measure = "throughput"
fixed = { batch_size = 32 }
[grids.axes]
normalizer = ["batch_norm", "group_norm", "layer_norm"]
direction = ["forward", "forward_backward"]
shape = ["64x32x32", "256x8x8"]
"""
MODELS = """
[[grids]]
measure = "model_throughput"
fixed = { model = "resnet20", image_size = 32, batch_size = 32 }
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
phase = ["inference", "training"]
repeat = 6
"""
ACCURACY = {"batch_norm": 0.9, "group_norm": 0.8, "layer_norm": 0.7, "none": 0.6}
TIME = {"batch_norm": 1.0, "group_norm": 0.5, "layer_norm": 2.0}


def suite(*grids: str, ranks: str = "[1]") -> Suite:
    return parse_suite(BOTH.replace("RANKS", ranks) + "".join(grids), "both.toml")


def measure(cell: Cell) -> dict[str, Any]:
    """Say that group norm is twice as fast as batch norm and less accurate, and layer norm worse at both."""
    settings = cell.settings.model_dump()
    name = settings["normalizer"]
    if cell.measure == "accuracy":
        return {"metrics": {"test_accuracy": ACCURACY[name] + 0.001 * settings["seed"], "chance_accuracy": 0.1}}
    if cell.measure == "model_throughput":
        training = settings["phase"] == "training"
        return {"metrics": {"model_step_ms_ratio": (1.25 if name == "group_norm" else 1.0) if training else 9.0}}
    # of a quarter and four times the geometric mean is 1: both layers together keep what TIME says
    by = {"64x32x32": 0.5, "256x8x8": 2.0}[settings["shape"]]
    return {"metrics": {"step_ms_ratio": TIME[name] * by if settings["direction"] == "forward_backward" else 7.0}}


def found(folder: Path) -> Tradeoff | None:
    run = read_run(folder)
    return tradeoff(run, load_frame(run))


def test_speed_is_batch_norms_time_over_ones_own_and_the_front_is_of_those_nobody_beats(
    make_run: Callable[..., Path],
) -> None:
    told = found(make_run(suite(LAYERS), measure))
    assert told is not None
    ((condition, marks),) = told.panels
    assert condition == ""
    assert {mark.normalizer: (mark.speed, mark.front) for mark in marks} == {
        "batch_norm": (pytest.approx(1.0), True),
        "group_norm": (pytest.approx(2.0), True),
        "layer_norm": (pytest.approx(0.5), False),
    }
    assert [mark.accuracy.value for mark in marks] == pytest.approx([0.9025, 0.8025, 0.7025])


def test_the_ends_of_a_speed_are_those_of_the_time_the_other_way_round(make_run: Callable[..., Path]) -> None:
    told = found(make_run(suite(LAYERS), measure))
    assert told is not None
    mark = told.panels[0][1][1]
    # group norm's layers take 0.25 and 1 times batch norm's time
    assert (mark.speeds, mark.speed_text) == (pytest.approx((1.0, 4.0)), "2.00× [1.00, 4.00]")
    assert told.spread.startswith("the range over layers")


def test_models_come_before_layers_and_only_their_training(make_run: Callable[..., Path]) -> None:
    told = found(make_run(suite(LAYERS, MODELS), measure))
    assert told is not None
    assert {mark.normalizer: mark.speed for mark in told.panels[0][1]} == {"batch_norm": 1.0, "group_norm": 0.8}
    assert told.speed_of == "a model's training step: resnet20, image_size 32, batch_size 32, cpu, float32, eager"
    assert told.accuracy_of == "mlp, digits, batch_size 40, cpu"


def test_equals_are_both_on_the_front(make_run: Callable[..., Path]) -> None:
    def same(cell: Cell) -> dict[str, Any]:
        return {"metrics": {"test_accuracy": 0.5, "step_ms_ratio": 1.0}}

    told = found(make_run(suite(LAYERS), same))
    assert told is not None
    assert [mark.front for mark in told.panels[0][1]] == [True] * 3


@pytest.mark.parametrize("missing", ["accuracy", "throughput"])
def test_one_normalizer_with_both_is_no_figure(make_run: Callable[..., Path], missing: str) -> None:
    def some(cell: Cell) -> dict[str, Any] | None:
        return None if cell.measure == missing and cell.settings.normalizer != "batch_norm" else measure(cell)

    folder = make_run(suite(LAYERS), some)
    assert found(folder) is None
    assert 'id="pareto"' not in report(folder).read_text(encoding="utf-8")


def test_every_condition_of_the_accuracy_has_a_panel_and_beyond_four_a_row_of_the_table(
    make_run: Callable[..., Path],
) -> None:
    run = read_run(make_run(suite(LAYERS, ranks="[1, 2, 4, 5, 8]"), measure))
    shown = pareto(run, load_frame(run))
    assert shown is not None
    drawn = shown.drawing.svg("d1")
    assert [f">ranks {ranks} (" in drawn for ranks in (1, 2, 4, 5, 8)] == [True] * 4 + [False]
    assert "1 condition of accuracy is in the table only." in shown.caption
    assert len(shown.rows) == 15


def test_the_caption_says_what_each_axis_is_of(make_run: Callable[..., Path]) -> None:
    page = report(make_run(suite(MODELS), measure)).read_text(encoding="utf-8")
    caption = re.findall("<figcaption>(.*?)</figcaption>", page)[0]
    assert "Up: test accuracy of mlp, digits, batch_size 40, cpu." in caption
    assert "of a model&#39;s training step: resnet20" in caption
    assert "accuracy and speed were measured on different things" in caption
    assert "Lines across are the 95 % interval" in caption


def test_it_is_among_the_figures_for_papers(make_run: Callable[..., Path]) -> None:
    (file,) = figures(make_run(suite(LAYERS), measure), format="svg")
    assert file.name == "01_accuracy_against_training_speed.svg"


def test_who_was_timed_on_other_layers_has_no_place_on_the_front(make_run: Callable[..., Path]) -> None:
    def some(cell: Cell) -> dict[str, Any]:
        lost = cell.settings.normalizer == "group_norm" and cell.settings.model_dump().get("shape") == "256x8x8"
        return {"status": "oom", "metrics": {}} if lost else measure(cell)

    told = found(make_run(suite(LAYERS), some))
    assert told is not None
    assert [mark.normalizer for mark in told.panels[0][1]] == ["batch_norm", "layer_norm"]
