"""Panels that share an axis, where not every panel has every category."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports.drawing.figures import show_figures
from normzoo_reports.load import load_frame
from normzoo_suites import Cell, parse_suite, read_run

SUITE = """
name = "panels"
question = "Where does each mark stand?"
protocol = 1
[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 1, batch_size = 40, ranks = 5 }
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
split = ["iid", "exclusive_classes"]
[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "vgg", epochs = 1, batch_size = 40, ranks = 5 }
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
split = ["exclusive_classes", "quantity(alpha=0.5)"]
[[figures]]
kind = "KIND"
x = "X"
y = "Y"
facet = "model"
"""
LEVELS = {"iid": 0.9, "exclusive_classes": 0.5, "quantity(alpha=0.5)": 0.2}
AXES = {"bar": ("split", "test_accuracy"), "line": ("split", "test_accuracy"), "point": ("test_accuracy", "split")}


def measured(cell: Cell) -> dict[str, Any]:
    level = LEVELS[cell.settings.model_dump()["split"]]
    return {"metrics": {"test_accuracy": level, "chance_accuracy": 0.1}}


def drawn(make_run: Callable[..., Path], kind: str) -> str:
    across, up = AXES[kind]
    text = SUITE.replace("KIND", kind).replace('"X"', f'"{across}"').replace('"Y"', f'"{up}"')
    run = read_run(make_run(parse_suite(text, "panels.toml"), measured))
    (shown,) = show_figures(run, load_frame(run))
    assert shown.drawing is not None
    return shown.drawing.svg("f")


@pytest.mark.parametrize("kind", AXES)
def test_every_mark_of_every_panel_says_what_it_is(make_run: Callable[..., Path], kind: str) -> None:
    told = re.findall("<title>(.*?): ([0-9.]+) %", drawn(make_run, kind))
    assert len(told) == 8
    assert {(name.partition(", split ")[2], float(value)) for name, value in told} == {
        (name, round(100 * level, 1)) for name, level in LEVELS.items()
    }


def test_bars_of_one_category_stand_at_one_place_in_every_panel(make_run: Callable[..., Path]) -> None:
    bars = re.findall(
        r'<path d="M ([\d.]+) [^>]*data-cell="\w+"><title>batch_norm, split (\S+):', drawn(make_run, "bar")
    )
    left = [(float(x), name) for x, name in bars]
    (iid, first), (second, quantity) = (
        (left[0][0], left[1][0]),
        (left[2][0], left[3][0]),
    )
    assert [name for _, name in left] == ["iid", "exclusive_classes", "exclusive_classes", "quantity(alpha=0.5)"]
    assert first - iid == pytest.approx(quantity - second, abs=0.01)
    # where a panel lacks the first category its second stands as far in as in the panel that has both
    assert second - iid > 2 * (first - iid)


@pytest.mark.parametrize("kind", ["bar", "line"])
def test_a_long_name_is_broken_once(make_run: Callable[..., Path], kind: str) -> None:
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", drawn(make_run, kind))
    assert texts.count("exclusive_") == texts.count("classes") == 2
