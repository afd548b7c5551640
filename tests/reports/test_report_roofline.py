"""The roofline: achieved bandwidth against the size of the input, hot and cold apart, and the line of a copy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import report
from normzoo_reports.drawing.roofline import Roofline, rooflines
from normzoo_reports.drawing.style import normalizer_look
from normzoo_reports.load import load_frame
from normzoo_suites import Cell, Suite, change_suite, load_suite, read_run

LAYERS = str(Path(__file__).parent / "layers.toml")

MB = {"64x56x56": 64 * 56 * 56 * 8 * 4 / 1e6, "256x14x14": 256 * 14 * 14 * 8 * 4 / 1e6}


def suite_of(**changes: str) -> Suite:
    asked = {"shape": "64x56x56,256x14x14", "batch_size": "8", "dtype": "float32", "layout": "contiguous"}
    asked |= {"direction": "forward,eval", "mode": "eager", "cache": "hot"} | changes
    return change_suite(load_suite(LAYERS), asked, normalizers=["batch_norm", "group_norm"])


def measured(cell: Cell) -> dict[str, Any]:
    """Say that batch norm reaches 8 GB/s, and group norm 4, below a copy of 10."""
    settings = cell.settings.model_dump()
    fewest, reached = 3 * MB[settings["shape"]], 8.0 if settings["normalizer"] == "batch_norm" else 4.0
    metrics = {"step_ms": fewest / reached, "step_ms_ratio": 1.0, "fewest_mb": fewest, "copy_gb_per_s": 10.0}
    return {"metrics": metrics | {"share_of_limit": reached / 10}}


def drawn(folder: Path) -> tuple[list[Roofline], list[Roofline]]:
    return rooflines(load_frame(read_run(folder)))


def test_achieved_bandwidth_is_the_fewest_bytes_over_the_time(make_run: Callable[..., Path]) -> None:
    (one,), others = drawn(make_run(suite_of(), measured))
    assert (one.normalizers, others) == (("batch_norm", "group_norm"), [])
    assert tuple((name, size, tuple(text for text, _ in cells)) for name, size, cells in one.rows) == tuple(
        (f"{direction}, {shape}, batch_size 8", size, ("8", "4"))
        for direction, shape, size in (
            ("forward", "64x56x56", "6.423"), ("eval", "64x56x56", "6.423"),
            ("forward", "256x14x14", "1.606"), ("eval", "256x14x14", "1.606"),
        )
    )  # fmt: skip


def test_the_roof_is_the_median_of_the_copies(make_run: Callable[..., Path]) -> None:
    def copies(cell: Cell) -> dict[str, Any]:
        told = measured(cell)
        told["metrics"]["copy_gb_per_s"] = 10.0 + 2 * cell.settings.replicate
        return told

    suite = change_suite(suite_of(), {}, repeats=3)
    (one,), _ = drawn(make_run(suite, copies))
    assert "12 GB/s (their median)" in one.caption
    assert "means over 3 repeats" in one.caption
    assert ">12<" in one.drawing.svg("f1")


def test_there_is_a_panel_for_each_direction_and_a_colour_for_each_normalizer(make_run: Callable[..., Path]) -> None:
    (one,), _ = drawn(make_run(suite_of(), measured))
    for text in ("forward", "eval", "batch_norm", "group_norm", "size of the input (MB)"):
        assert f">{text}<" in one.drawing.svg("f1")
    for name in ("batch_norm", "group_norm"):
        marks = rf"<use [^>]*fill: var\(--series-{normalizer_look(name).slot}\)"
        assert len(re.findall(marks, one.drawing.svg("f1"))) == 5  # 2 panels of 2 layers, and the legend


def test_hot_and_cold_are_drawn_apart(make_run: Callable[..., Path]) -> None:
    found, others = drawn(make_run(suite_of(cache="hot,cold"), measured))
    assert [one.title for one in found] == [
        f"Bandwidth achieved, {kind}, float32, contiguous, eager" for kind in ("hot", "cold")
    ]
    assert others == []


def test_the_largest_group_stands_first_and_the_others_below_the_fold(make_run: Callable[..., Path]) -> None:
    def some(cell: Cell) -> dict[str, Any] | None:
        settings = cell.settings.model_dump()
        fewer = settings["dtype"] == "float32" and settings["direction"] == "eval"
        return None if fewer else measured(cell)

    folder = make_run(suite_of(dtype="float32,bfloat16"), some)
    (first,), (other,) = drawn(folder)
    assert ("bfloat16" in first.title, "float32" in other.title) == (True, True)
    page = report(folder).read_text(encoding="utf-8")
    assert page.index(first.title) < page.index("Other dtypes, layouts and modes: 1 drawing") < page.index(other.title)


def test_an_inputs_size_goes_by_its_dtype(make_run: Callable[..., Path]) -> None:
    (one,), (other,) = drawn(make_run(suite_of(dtype="float32,bfloat16"), measured))
    assert (float(one.rows[0][1]), float(other.rows[0][1])) == pytest.approx((6.423, 6.423 / 2), rel=1e-3)


def test_a_mark_above_the_line_is_explained_only_where_there_is_one(make_run: Callable[..., Path]) -> None:
    def fast(cell: Cell) -> dict[str, Any]:
        told = measured(cell)
        told["metrics"] |= {"step_ms": told["metrics"]["step_ms"] / 4, "share_of_limit": 3.2}
        return told

    captions = [
        drawn(make_run(suite_of(), how, name=name))[0][0].caption for how, name in ((measured, "a"), (fast, "b"))
    ]
    assert ["stay in a cache" in caption for caption in captions] == [False, True]


def test_older_records_without_a_limit_draw_nothing(make_run: Callable[..., Path]) -> None:
    def older(cell: Cell) -> dict[str, Any]:
        return {"metrics": {"step_ms": 1.0, "step_ms_ratio": 1.0}}

    folder = make_run(suite_of(), older)
    assert drawn(folder) == ([], [])
    assert "Bandwidth achieved" not in report(folder).read_text(encoding="utf-8")


def test_ids_of_drawings_never_meet(make_run: Callable[..., Path]) -> None:
    page = report(make_run(suite_of(cache="hot,cold", dtype="float32,bfloat16"), measured)).read_text(encoding="utf-8")
    ids = re.findall(' id="([^"]+)"', page)
    assert page.count("<h3>Bandwidth achieved") == 4
    assert len(ids) == len(set(ids))
