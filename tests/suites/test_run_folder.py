"""A run folder is read whole, and what is wrong with it is named."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_suites import Cell, Record, Suite, SuiteError, read_run


def record_of(cell: Cell) -> Record:
    settings = cell.settings.model_dump()
    return Record(id=cell.id, suite="small", measure=cell.measure, settings=settings, status="ok", metrics={"x": 1.0})


@pytest.fixture
def folder(tmp_path: Path, small: Suite) -> Path:
    """A run of which the first two cells are measured, and the fourth is the same as the first."""
    cells = small.cells()
    cells[3] = dataclasses.replace(cells[3], same_as=cells[0].id)
    (tmp_path / "cells").mkdir()
    for cell in cells[:2]:
        (tmp_path / "cells" / f"{cell.id}.json").write_text(record_of(cell).to_json(), encoding="utf-8")
    content = {"schema": 1, "suite": small.to_json(), "cells": [cell.to_json() for cell in cells], "command": "a b"}
    (tmp_path / "run.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path


@pytest.fixture
def change(folder: Path) -> Callable[..., None]:
    """Give a function that changes what run.json holds."""

    def act(**told: Any) -> None:
        data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        kept = {key: value for key, value in (data | told).items() if value is not ...}
        (folder / "run.json").write_text(json.dumps(kept), encoding="utf-8")

    return act


def test_a_run_is_read_with_its_suite_cells_and_records(folder: Path, small: Suite) -> None:
    run = read_run(folder)
    assert run.suite == small
    assert [cell.id for cell in run.cells] == [cell.id for cell in small.cells()]
    assert run.command == "a b"
    assert run.unreadable == {}
    first, second, _, fourth = (cell.id for cell in run.cells[:4])
    assert set(run.records) == {first, second, fourth}


def test_a_cell_that_is_the_same_as_another_has_its_record(folder: Path) -> None:
    run = read_run(folder)
    assert run.records[run.cells[3].id] is run.records[run.cells[0].id]


def test_a_record_that_cannot_be_read_is_named_and_the_others_are_kept(folder: Path, small: Suite) -> None:
    first, second = (cell.id for cell in small.cells()[:2])
    file = folder / "cells" / f"{second}.json"
    file.write_text(file.read_text(encoding="utf-8")[:99], encoding="utf-8")
    run = read_run(folder)
    assert first in run.records
    assert second not in run.records
    assert run.unreadable[file.name].startswith(f"cannot read the record {second}.json: not valid JSON")


def test_a_record_under_another_cells_name_is_not_taken_for_its_own(folder: Path, small: Suite) -> None:
    first, second = (cell.id for cell in small.cells()[:2])
    (folder / "cells" / f"{first}.json").replace(folder / "cells" / f"{second}.json")
    run = read_run(folder)
    assert not run.records
    assert run.unreadable == {f"{second}.json": f"the record {second}.json is of another cell, {first}"}


def test_a_record_of_a_cell_that_the_suite_does_not_have_is_left_alone(folder: Path) -> None:
    (folder / "cells" / "ffffffffffffffff.json").write_text("{", encoding="utf-8")
    assert read_run(folder).unreadable == {}


@pytest.mark.parametrize("name", ["nowhere", "run.json"])
def test_what_is_no_run_folder_is_told_what_makes_one(folder: Path, name: str) -> None:
    with pytest.raises(SuiteError, match=r"is no run folder: it has no run.json; `normzoo run SUITE --out "):
        read_run(folder / name)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"schema": 2, "more": 1}, r"run.json has schema 2, this normzoo reads up to 1; install a newer normzoo$"),
        ({"schema": ...}, "its schema must be 1, got None; running"),
        ({"cells": ...}, "'cells' is missing; running the suite again writes it anew$"),
        ({"command": ...}, "'command' is missing"),
        ({"cells": 5}, "it is not what a run writes"),
        ({"cells": [5]}, "it is not what a run writes"),
        ({"cells": [{"measure": "speed"}]}, "unknown measure 'speed'; known: accuracy, "),
        ({"cells": [{"measure": "accuracy", "settings": {}}]}, "normalizer is missing"),
        ({"suite": {}}, "name is missing"),
        ({"suite": []}, "must be a table, got a list of 0"),
    ],
)
def test_a_run_json_that_cannot_be_read_is_told_in_one_line(
    folder: Path, change: Callable[..., None], told: dict[str, Any], said: str
) -> None:
    change(**told)
    with pytest.raises(SuiteError, match=said) as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("run.json") == 1


@pytest.mark.parametrize("other", ["cells", "trials"])
def test_a_cell_that_stands_twice_in_run_json_is_named(
    folder: Path, change: Callable[..., None], small: Suite, other: str
) -> None:
    cells = [cell.to_json() for cell in small.cells()]
    change(**({"cells": [*cells, cells[1]]} if other == "cells" else {"trials": cells[1:2]}))
    twice = rf"run\.json: the cell {small.cells()[1].id} stands there 2 times; running the suite again writes it anew$"
    with pytest.raises(SuiteError, match=twice):
        read_run(folder)


def test_a_truncated_run_json_is_told_with_the_way_out(folder: Path) -> None:
    file = folder / "run.json"
    file.write_text(file.read_text(encoding="utf-8")[:500], encoding="utf-8")
    with pytest.raises(SuiteError, match=r"not valid JSON: .*; running the suite again writes it anew"):
        read_run(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"measure": "memory"}, "the measure memory"), ({"settings": {"normalizer": "none"}}, "another normalizer")],
)
def test_a_record_that_contradicts_its_cell_is_not_believed(folder: Path, small: Suite, change: Any, said: str) -> None:
    first = small.cells()[0].id
    file = folder / "cells" / f"{first}.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(data | change | {"settings": data["settings"] | change.get("settings", {})}))
    run = read_run(folder)
    assert first not in run.records
    assert said in run.unreadable[file.name]
