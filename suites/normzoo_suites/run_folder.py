"""A run folder, read: `run.json` (the suite and its cells) and `cells/<id>.json` (one record each)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from normzoo_suites.cell import Cell
from normzoo_suites.errors import NewerSchemaError, SuiteError
from normzoo_suites.load import read_suite
from normzoo_suites.record import Record, parse_json, read_record
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
        looks: at how many seeds results could be seen before more seeds were asked for, look by look.

    """

    folder: Path
    suite: Suite
    cells: list[Cell]
    records: dict[str, Record]
    unreadable: dict[str, str]
    command: str
    looks: tuple[int, ...] = ()


def read_run(folder: str | Path) -> Run:
    """Read a run folder.

    Raises:
        SuiteError: when it is no run folder, or its run.json cannot be read.

    """
    folder = Path(folder)
    suite, cells, command, looks = _contents(folder)
    records, unreadable = read_records(folder, [cell.id for cell in cells])
    for cell in cells:
        if cell.same_as in records:
            records[cell.id] = records[cell.same_as]
    return Run(folder, suite, cells, records, unreadable, command, looks)


def _contents(folder: Path) -> tuple[Suite, list[Cell], str, tuple[int, ...]]:
    """Read run.json: the suite, its cells, the command line, the looks."""
    file = folder / "run.json"
    try:
        data = parse_json(file.read_bytes(), str(file))
        cells = [Cell.from_json(cell) for cell in data["cells"]]
        looks = tuple(int(look) for look in data.get("looks", ()))
        return read_suite(data["suite"]), cells, str(data["command"]), looks
    except (FileNotFoundError, NotADirectoryError):
        raise SuiteError(
            f"{folder} is no run folder: it has no run.json; `normzoo run SUITE --out {folder}` makes one"
        ) from None
    except OSError as error:
        raise SuiteError(f"cannot read {file}: {error.strerror}") from None
    except NewerSchemaError:
        raise
    except SuiteError as error:
        fault = str(error).removeprefix(f"cannot read {file}: ")
    except KeyError as error:
        fault = f"{error} is missing"
    except (TypeError, ValueError):
        fault = "it is not what a run writes"
    raise SuiteError(f"cannot read {file}: {fault}; running the suite again writes it anew")


def read_records(folder: Path, ids: list[str]) -> tuple[dict[str, Record], dict[str, str]]:
    """Read the records of these cells; give the readable by id, and by file name what is wrong with the others."""
    records, unreadable = {}, {}
    for cell_id in ids:
        file = folder / "cells" / f"{cell_id}.json"
        try:
            record = read_record(file.read_bytes(), file.name)
        except FileNotFoundError:
            continue
        except (OSError, SuiteError) as error:
            unreadable[file.name] = str(error)
        else:
            if record.id == cell_id:
                records[cell_id] = record
            else:
                unreadable[file.name] = f"the record {file.name} is of another cell, {record.id}"
    return records, unreadable
