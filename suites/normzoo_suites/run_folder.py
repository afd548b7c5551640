"""A run folder, read: `run.json` (the suite and its cells) and `cells/<id>.json` (one record each)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from normzoo_suites.cell import Cell
from normzoo_suites.errors import SuiteError
from normzoo_suites.record import SCHEMA, Record, read_record
from normzoo_suites.schema import Suite


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Attributes:
        folder: where it lies.
        suite: the suite as the latest command line changed it.
        cells: its cells, in the order of measuring.
        records: the readable records of these cells by id; a cell that is ``same_as`` another has that one's record.
        unreadable: by file name, what is wrong with a record that cannot be read.
        command: the command line of the latest run.

    """

    folder: Path
    suite: Suite
    cells: list[Cell]
    records: dict[str, Record]
    unreadable: dict[str, str]
    command: str


def read_run(folder: str | Path) -> Run:
    """Read a run folder.

    Raises:
        SuiteError: when it is no run folder, or its run.json cannot be read.

    """
    folder = Path(folder)
    file = folder / "run.json"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["schema"] > SCHEMA:
            raise SuiteError(f"{file} has schema {data['schema']}, this normzoo reads up to {SCHEMA}; install a newer one")
        suite = Suite.model_validate(data["suite"])
        cells = [Cell.from_json(cell) for cell in data["cells"]]
        command = str(data["command"])
    except FileNotFoundError:
        raise SuiteError(f"{folder} is no run folder: it has no run.json; `normzoo run SUITE --out {folder}` makes one") from None
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        if isinstance(error, SuiteError):
            raise
        raise SuiteError(f"cannot read {file}: {str(error).partition(chr(10))[0]}; running the suite again writes it anew") from None
    records, unreadable = read_records(folder, [cell.id for cell in cells])
    for cell in cells:
        if cell.same_as in records:
            records[cell.id] = records[cell.same_as]
    return Run(folder, suite, cells, records, unreadable, command)


def read_records(folder: Path, ids: list[str]) -> tuple[dict[str, Record], dict[str, str]]:
    """Read the records of these cells; give the readable by id, and by file name what is wrong with the others."""
    records, unreadable = {}, {}
    for cell_id in ids:
        file = folder / "cells" / f"{cell_id}.json"
        try:
            records[cell_id] = read_record(file.read_bytes(), file.name)
        except FileNotFoundError:
            continue
        except (OSError, SuiteError) as error:
            unreadable[file.name] = str(error)
    return records, unreadable
