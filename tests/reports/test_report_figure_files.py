"""Figures as files of their own: for papers, on white, the same each time."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from normzoo_bench.cli import app
from normzoo_reports import figures
from normzoo_reports.drawing.figures import show_figure
from normzoo_reports.drawing.style import LIGHT, PAGE
from normzoo_reports.load import load_frame
from normzoo_suites import Cell, Suite, SuiteError, change_suite, load_suite, read_run

STARTS = {"pdf": b"%PDF-", "png": b"\x89PNG", "svg": b"<?xml"}


@pytest.fixture
def tiny_run(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> Callable[..., Path]:
    return lambda **more: make_run(tiny(5), measured, **more)  # from 6 seeds on there is a second figure


@pytest.mark.parametrize("format_", STARTS)
def test_every_format_is_what_it_says_and_the_same_each_time(
    tiny_run: Callable[..., Path], tmp_path: Path, format_: Any
) -> None:
    run = tiny_run()
    (first,), (second,) = (figures(run, tmp_path / folder, format_) for folder in ("a", "b"))
    assert first.name == second.name == f"01_test_accuracy_by_samples_per_statistic.{format_}"
    assert first.read_bytes().startswith(STARTS[format_])
    assert first.read_bytes() == second.read_bytes()


def test_a_vector_file_has_the_light_colours_and_its_text_as_text(tiny_run: Callable[..., Path]) -> None:
    (file,) = figures(tiny_run(), format="svg")
    drawn = file.read_text(encoding="utf-8")
    assert f"fill: {LIGHT[0]}" in drawn
    assert not any(colour in drawn for colour in (*PAGE.series, PAGE.ink, PAGE.faint))
    assert ">batch_norm</text>" in drawn


def test_a_picture_is_drawn_on_white_and_fine_enough_for_print(tiny_run: Callable[..., Path]) -> None:
    (file,) = figures(tiny_run(), format="png")
    with Image.open(file) as picture:
        assert picture.size[0] >= 1300  # 6.8 inches
        assert picture.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


def test_a_document_holds_no_type_3_font(tiny_run: Callable[..., Path]) -> None:
    (file,) = figures(tiny_run(), format="pdf")
    assert re.findall(rb"/Subtype /(Type3|Type0|TrueType)", file.read_bytes())
    assert b"/Subtype /Type3" not in file.read_bytes()


def test_the_command_names_what_it_wrote(tiny_run: Callable[..., Path]) -> None:
    run = tiny_run()
    done = CliRunner().invoke(app, ["figures", str(run), "--format", "svg"])
    assert (done.exit_code, done.stdout.count("wrote ")) == (0, 1)
    assert list((run / "figures").iterdir())


def test_a_run_without_figures_and_an_unknown_format_are_refused_in_words(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    bare = make_run(tiny(2).model_copy(update={"figures": []}), measured)
    assert read_run(bare).suite.figures == []
    with pytest.raises(SuiteError, match="nothing to draw"):
        figures(bare)
    with pytest.raises(SuiteError, match=r"unknown format 'gif' of figures; one of pdf, png, svg"):
        figures(bare, format="gif")


def test_a_folder_that_cannot_be_written_is_named(tiny_run: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SuiteError, match="name another folder"):
        figures(tiny_run(), tmp_path / "file")


def test_a_line_of_percentiles_has_room_in_every_panel(make_run: Callable[..., Path]) -> None:
    """The panels share their axis, and the last one's line is the longest: a twentieth to 9 times batch norm's time."""
    suite = change_suite(
        load_suite("quick"), {"shape": "64x32x32,256x8x8"}, normalizers=["batch_norm", "group_norm"], seeds=1
    )

    def timed(cell: Cell) -> dict[str, Any]:
        if cell.measure == "accuracy":
            return {"metrics": {"test_accuracy": 0.9}}
        wide = cell.settings.model_dump()["shape"] == "256x8x8" and cell.settings.normalizer == "group_norm"
        ends = {"step_ms_ratio_p10": 0.05, "step_ms_ratio_p90": 9.0} if wide else {}
        narrow = {"step_ms_ratio_p10": 1.0, "step_ms_ratio_p90": 1.0}
        return {"metrics": {"step_ms_ratio": 1.0} | narrow | ends}

    run = read_run(make_run(suite, timed))
    table = load_frame(run)
    shown = show_figure(run.suite.figures[-1], run, table)
    assert shown.drawing is not None
    low, high = shown.drawing.make().axes[0].get_xlim()
    assert low < 0.05
    assert high > 9.0


def test_one_figure_is_asked_for_by_its_number(tiny_run: Callable[..., Path]) -> None:
    run = tiny_run()
    assert len(figures(run, only=[1])) == 1
    with pytest.raises(SuiteError, match="has no figure 2; it has 1"):
        figures(run, only=[2])
