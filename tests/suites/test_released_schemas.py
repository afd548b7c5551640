"""Run folders as released schemas wrote them keep loading, with every value that they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from normzoo_suites import SCHEMA, SuiteError, read_record, read_run
from normzoo_suites.errors import NewerSchemaError

FIXTURES = Path(__file__).parent / "fixtures"
FOLDERS = sorted(file.parent for file in FIXTURES.glob("schema_*/*/run.json"))
LATER = {
    "first": {"split", "conditions", "log"},
    "with_splits": {"conditions", "log"},
    "with_conditions": {"log"},
}


def test_there_are_run_folders_of_every_released_schema() -> None:
    assert {folder.parent.name for folder in FOLDERS} == {f"schema_{number}" for number in range(1, SCHEMA + 1)}
    assert {folder.name for folder in FOLDERS} == set(LATER)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_run_folder_is_read_whole(folder: Path) -> None:
    run = read_run(folder)
    assert run.unreadable == {}
    assert run.unreadable_contracts == {}
    assert set(run.records) == {cell.id for cell in run.cells} == {file.stem for file in (folder / "cells").iterdir()}
    assert {record.measure for record in run.records.values()} == {"accuracy", "throughput"}


@pytest.mark.parametrize("file", [file for folder in FOLDERS for file in sorted((folder / "cells").iterdir())], ids=str)
def test_a_record_keeps_every_value_that_stands_in_its_file(file: Path) -> None:
    written = json.loads(file.read_text(encoding="utf-8"))
    read = json.loads(read_record(file.read_bytes(), file.name).to_json())
    later = LATER[file.parts[-3]]
    assert read.keys() - written.keys() == later
    assert {key: value for key, value in read.items() if key not in later} == written
    assert not any(read[key] for key in later)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_cell_keeps_the_id_and_the_settings_that_it_was_written_with(folder: Path) -> None:
    """A setting that the file does not know is at its default, which stays out of the id."""
    for written, cell in zip(
        json.loads((folder / "run.json").read_text())["cells"], read_run(folder).cells, strict=True
    ):
        assert cell.id == written["id"]
        settings = cell.settings.model_dump()
        assert {key: settings[key] for key in written["settings"]} == written["settings"]


def test_contract_results_are_read() -> None:
    result = read_run(FIXTURES / "schema_1" / "with_conditions").contracts["batch_norm"]
    assert len(result.findings) == 28
    assert all(one.ok for one in result.findings)


@pytest.fixture
def newest(tmp_path: Path) -> Path:
    for file in (FIXTURES / "schema_1" / "with_conditions").rglob("*.json"):
        place = tmp_path / file.relative_to(FIXTURES / "schema_1" / "with_conditions")
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(file.read_bytes())
    return tmp_path


def newer(file: Path) -> None:
    held: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({"schema": SCHEMA + 1, "new": held}), encoding="utf-8")


def test_a_newer_record_is_refused_by_name_with_what_to_do_and_the_others_are_kept(newest: Path) -> None:
    first = read_run(newest).cells[0].id
    newer(newest / "cells" / f"{first}.json")
    run = read_run(newest)
    assert run.unreadable == {
        f"{first}.json": f"the record {first}.json has schema 2, this normzoo reads up to 1; install a newer normzoo"
    }
    assert len(run.records) == len(run.cells) - 1


def test_a_newer_contract_result_is_refused_by_name_with_what_to_do(newest: Path) -> None:
    newer(newest / "contracts" / "batch_norm.json")
    run = read_run(newest)
    said = "the contract result batch_norm.json has schema 2, this normzoo reads up to 1; install a newer normzoo"
    assert run.unreadable_contracts == {"batch_norm": said}
    assert len(run.records) == len(run.cells)


def test_a_newer_run_json_is_refused_by_name_with_what_to_do(newest: Path) -> None:
    newer(newest / "run.json")
    with pytest.raises(NewerSchemaError, match=r"run.json has schema 2, this normzoo reads up to 1; install a newer n"):
        read_run(newest)
    assert issubclass(NewerSchemaError, SuiteError)
