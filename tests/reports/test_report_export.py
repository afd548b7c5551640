"""Records as one table: every value as it was recorded, and nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import normzoo_reports
from normzoo_reports import export
from normzoo_suites import Cell, Suite, SuiteError, parse_suite, read_run
from normzoo_suites.metrics import METRICS
from normzoo_suites.settings import MEASURES

MakeRun = Callable[..., Path]
MIXED = """
name = "mixed"
question = "What?"
protocol = 3
[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 1, batch_size = 40, split = "iid" }
[grids.axes]
normalizer = ["batch_norm"]
seed = 2
[[grids]]
measure = "throughput"
fixed = { shape = "64x8x8", batch_size = 32 }
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
"""


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture
def mixed(make_run: MakeRun) -> Path:
    return make_run(parse_suite(MIXED, "mixed.toml"))


def test_both_files_hold_every_setting_and_metric_of_every_record(mixed: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(export(mixed, tmp_path / "a.parquet")).set_index("id")
    sheet = {row["id"]: row for row in rows(export(mixed, tmp_path / "a.csv"))}
    run = read_run(mixed)
    assert list(table.index) == list(sheet) == [cell.id for cell in run.cells]
    for cell in run.cells:
        told = {"measure": cell.measure, "protocol": 3, "suite": "mixed", "role": "cell"}
        for key, value in {**told, **cell.settings.model_dump(), **run.records[cell.id].metrics}.items():
            assert table.loc[cell.id, key] == value, key
            assert type(value)(sheet[cell.id][key]) == value, key


def test_what_a_measure_does_not_have_is_empty_and_whole_numbers_stay_whole(mixed: Path, tmp_path: Path) -> None:
    sheet = rows(export(mixed, tmp_path / "a.csv"))
    accuracy, timed = (next(row for row in sheet if row["measure"] == one) for one in ("accuracy", "throughput"))
    assert (accuracy["shape"], accuracy["epochs"], accuracy["step_ms"]) == ("", "1", "")
    assert (timed["shape"], timed["epochs"], timed["test_accuracy"]) == ("64x8x8", "", "")


def test_series_and_samples_are_lists_in_parquet_and_left_out_of_csv(mixed: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(export(mixed, tmp_path / "a.parquet")).set_index("measure")
    assert {tuple(values) for values in table.loc["accuracy", "series_train_loss"]} == {(1.2, 0.4, 0.2)}
    assert {len(values) for values in table.loc["throughput", "samples_step_ms"]} == {50}
    assert not [key for key in rows(export(mixed, tmp_path / "a.csv"))[0] if key.startswith(("series_", "samples_"))]


def test_the_same_records_give_the_same_bytes(mixed: Path, tmp_path: Path) -> None:
    for ending in ("csv", "parquet"):
        first, second = (export(mixed, tmp_path / name / f"a.{ending}").read_bytes() for name in ("one", "two"))
        assert first == second


def test_trials_stand_before_the_cells_and_say_what_they_are(tuned_page: Path, tmp_path: Path) -> None:
    roles = [row["role"] for row in rows(export(tuned_page.parent, tmp_path / "a.csv"))]
    assert roles == ["trial"] * roles.count("trial") + ["cell"] * roles.count("cell")
    assert set(roles) == {"trial", "cell"}


def test_a_cell_that_shares_a_result_has_a_row_of_its_own_settings(quick_page: Path, tmp_path: Path) -> None:
    sheet = {row["id"]: row for row in rows(export(quick_page.parent, tmp_path / "a.csv"))}
    shared = [row for row in sheet.values() if row["same_as"]]
    assert shared
    for row in shared:
        assert row["ranks"] != sheet[row["same_as"]]["ranks"]
        assert row["test_accuracy"] == sheet[row["same_as"]]["test_accuracy"]


def change_record(run: Path, **told: Any) -> None:
    file = sorted((run / "cells").iterdir())[0]
    file.write_text(json.dumps(json.loads(file.read_text()) | told), encoding="utf-8")


def test_text_that_a_spreadsheet_would_run_is_defused_in_csv_and_kept_in_parquet(mixed: Path, tmp_path: Path) -> None:
    evil = '=HYPERLINK("http://x","y")'
    change_record(mixed, reason=evil, environment={"cpu": "@SUM(A1)", "=1+1": "-2+3"}, metrics={"negative": -0.5})
    (row,) = (one for one in rows(export(mixed, tmp_path / "a.csv")) if one["reason"])
    assert row["reason"] == f"'{evil}"
    assert (row["environment_cpu"], row["environment_=1+1"], row["negative"]) == ("'@SUM(A1)", "'-2+3", "-0.5")
    assert evil in set(pd.read_parquet(export(mixed, tmp_path / "a.parquet"))["reason"])


def test_what_a_worker_printed_stands_in_both_files_and_is_defused_in_csv(mixed: Path, tmp_path: Path) -> None:
    log = '=1+1\nTraceback, "quoted"\n'
    change_record(mixed, log=log)
    assert {f"'{log}", ""} == {row["log"] for row in rows(export(mixed, tmp_path / "a.csv"))}
    assert {log, ""} == set(pd.read_parquet(export(mixed, tmp_path / "a.parquet"))["log"])


@pytest.mark.parametrize("text", ["a\nb", 'a"b', "a,b", "ü 🎉 \u202e", ""])
def test_any_text_comes_back_from_csv_as_it_was(mixed: Path, tmp_path: Path, text: str) -> None:
    change_record(mixed, command=text)
    assert text in {row["command"] for row in rows(export(mixed, tmp_path / "a.csv"))}


def test_a_carriage_return_in_a_text_begins_no_line_of_csv(mixed: Path, tmp_path: Path) -> None:
    change_record(mixed, command="a\r=1+1,b\r\nc")
    sheet = rows(export(mixed, tmp_path / "a.csv"))
    assert len(sheet) == len(read_run(mixed).cells)
    assert "a\n=1+1,b\nc" in {row["command"] for row in sheet}


def test_a_metric_of_the_name_of_a_column_takes_no_columns_place(mixed: Path, tmp_path: Path) -> None:
    change_record(mixed, metrics={"normalizer": 1.5, "id": 2.5, "environment_cpu": 3.5, "shape": 4.5})
    sheet = rows(export(mixed, tmp_path / "a.csv"))
    assert {row["normalizer"] for row in sheet} == {"batch_norm", "group_norm"}
    assert {row["environment_cpu"] for row in sheet} == {"some processor"}
    assert {row["metric_normalizer"] for row in sheet} == {"1.5", ""}


def test_half_a_surrogate_pair_and_a_number_beyond_64_bits_are_written(mixed: Path, tmp_path: Path) -> None:
    change_record(mixed, reason="\ud800", environment={"cpu": "x", "cores": 2**70})
    for ending in ("csv", "parquet"):
        assert export(mixed, tmp_path / f"a.{ending}").stat().st_size


def test_no_setting_is_called_like_a_metric() -> None:
    """Both keep their names in one table."""
    settings = {key for measure in MEASURES.values() for key in measure.model_fields}
    assert not settings & {metric for metrics in METRICS.values() for metric in metrics}


def test_another_ending_is_refused_with_those_that_there_are(mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"a\.xlsx: its name must end in \.parquet or \.csv"):
        export(mixed, tmp_path / "a.xlsx")


def test_a_place_that_cannot_be_written_is_told(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SuiteError, match=r"cannot export to .*name another file"):
        export(mixed, tmp_path / "file" / "a.csv")
    assert not list(tmp_path.rglob("*.part"))


def test_export_stays_a_function_after_it_was_called(mixed: Path, tmp_path: Path) -> None:
    """A module `export` would take its place in the package."""
    export(mixed, tmp_path / "a.csv")
    assert callable(normzoo_reports.export)
    assert callable(normzoo_reports.publish)


def test_a_run_without_records_is_no_table(make_run: MakeRun, tiny: Callable[[int], Suite], tmp_path: Path) -> None:
    def nothing(cell: Cell) -> None:
        return None

    with pytest.raises(SuiteError, match="nothing is measured yet"):
        export(make_run(tiny(1), nothing), tmp_path / "a.csv")
