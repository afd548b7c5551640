"""Large runs: the page carries the tables, says where the details are, and stays small."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import report
from normzoo_reports.page import records
from normzoo_suites import Cell, Suite, parse_suite, read_run

LARGE = """
name = "large"
question = "What do very many made-up numbers say?"
protocol = 1
[[grids]]
measure = "throughput"
[grids.axes]
normalizer = ["batch_norm", "sync_batch_norm", "group_norm", "layer_norm", "batch_renorm"]
shape = ["64x112x112", "64x56x56", "256x56x56", "128x28x28", "512x28x28", "256x14x14", "1024x14x14", "512x7x7"]
batch_size = [1, 2, 4, 8, 16, 32, 64, 128, 256]
dtype = ["float32", "bfloat16"]
layout = ["contiguous", "channels_last"]
direction = ["forward", "forward_backward", "eval"]
mode = ["eager", "compiled"]
repeat = 1
[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 1, batch_size = 64 }
[grids.axes]
normalizer = ["batch_norm", "group_norm", "layer_norm", "batch_renorm"]
ranks = [1, 2, 4, 8, 16]
learning_rate = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
seed = 10
[[figures]]
kind = "line"
x = "local_batch"
y = "test_accuracy"
facet = "learning_rate"
"""


def island(page: str) -> Any:
    (text,) = re.findall('<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    return json.loads(text)


@pytest.fixture
def one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "DETAILS_UP_TO", 35)


def test_up_to_500_records_stand_in_the_page_with_all_their_details(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    assert records.DETAILS_UP_TO == 500
    folder = make_run(tiny(6), lambda cell: measured(cell) | {"samples": {"step_ms": [1.23456789, 2.0]}})
    run, cells = read_run(folder), island(report(folder).read_text(encoding="utf-8"))["cells"]
    assert set(cells) == {cell.id for cell in run.cells}
    for cell in run.cells:
        told = cells[cell.id]
        assert told["series"] == {"train_loss": [1.2, 0.4, 0.2]}
        assert told["samples"] == {"step_ms": [1.23457, 2.0]}
        assert set(told["settings"]) == set(cell.settings.model_dump())
        assert told["normalizer"] == cell.settings.normalizer


@pytest.mark.usefixtures("one_too_many")
def test_of_more_records_the_page_has_the_tables_and_says_where_the_details_are(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    failed = {"status": "crashed", "reason": "it fell over"}
    page = report(make_run(tiny(6), lambda cell: failed if cell.settings.seed == 5 else measured(cell)))
    text = page.read_text(encoding="utf-8")
    assert island(text)["cells"] == {}
    assert 'id="cell-' not in text
    assert 'href="#cell-' not in text
    assert "cells/ID.json" in text
    assert "it fell over" in text
    # 6 in the table of the figure, 4 in that of the readings: they can be filtered all the same
    assert len(re.findall("<td[^>]* data-of=", text)) == 10


@pytest.mark.slow
def test_ten_thousand_records_make_a_page_under_5_mb(make_run: Callable[..., Path]) -> None:
    folder = make_run(parse_suite(LARGE, "large.toml"))
    assert len(read_run(folder).records) >= 10_000
    page = report(folder)
    assert page.stat().st_size < 5_000_000
    ids, links = (set(re.findall(f' {key}="#?([^"]+)"', page.read_text(encoding="utf-8"))) for key in ("id", "href"))
    assert links <= ids
