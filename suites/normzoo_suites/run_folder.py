"""A run folder, read: `run.json` (the suite and its cells), `cells/<id>.json` (one record each), `contracts/`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normzoo_suites import collecting
from normzoo_suites.cell import Cell
from normzoo_suites.contracts import ContractResult, read_results
from normzoo_suites.errors import NewerSchemaError, SuiteError, show_key
from normzoo_suites.load import read_suite
from normzoo_suites.record import Record, parse_json, read_record
from normzoo_suites.schema import Suite
from normzoo_suites.selection import Choice, choose

_LEFT_OUT: dict[str, Any] = {
    **{key: {} for key in ("settings", "metrics", "series", "samples", "card", "split", "conditions", "environment")},
    **dict.fromkeys(("log", "command"), ""),
}
"""What a record is left without where only its status matters."""


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Attributes:
        folder: where it lies.
        suite: the suite as the latest command line changed it.
        cells: its cells, in the order of measuring.
        records: the readable records of these cells and trials by id; a cell that is ``same_as`` another has that
            one's record. A trial of an older source of its normalizer has none: it chooses nothing, and is tried again.
        unreadable: by file name, what is wrong with a record that cannot be read.
        command: the command line of the latest run.
        looks: at how many seeds results could be seen before more seeds were asked for, look by look.
        trials: what is trained to tune the cells, before them.
        waiting: how many cells are not among ``cells`` yet, since what tunes them is not chosen.
        contracts: by normalizer, as settings spell it, what the contract kit found of it, where it was asked.
        shard: which part of the plan was measured here last, and of how many; None for all of it.
        how: the options by which it was measured last, as the command line spells them.
        unreadable_contracts: likewise, what is wrong with a contract result that cannot be read.

    """

    folder: Path
    suite: Suite
    cells: list[Cell]
    records: dict[str, Record]
    unreadable: dict[str, str]
    command: str
    looks: tuple[int, ...] = ()
    trials: tuple[Cell, ...] = ()
    waiting: int = 0
    contracts: dict[str, ContractResult] = field(default_factory=dict)
    unreadable_contracts: dict[str, str] = field(default_factory=dict)
    shard: tuple[int, int] | None = None
    how: str = ""

    def choices(self) -> dict[str, Choice]:
        """Give what the trials have chosen, by condition, as far as they have."""
        select = self.suite.select
        return choose(select, self.suite.cells(), self.records) if select else {}


@collecting.pause()
def read_run(folder: str | Path, brief: bool = False) -> Run:
    """Read a run folder.

    Args:
        folder: the run folder.
        brief: keep of every record, once it has been read and held to its cell, no more than how the cell ended.

    Raises:
        SuiteError: when it is no run folder, or its run.json cannot be read.

    """
    folder = Path(folder)
    held = _contents(folder)
    records, unreadable = _own_records(folder, held, brief)
    share_records(records, (*held.trials, *held.cells))
    names = [cell.settings.normalizer for cell in (*held.cells, *held.trials)]
    return Run(
        folder,
        held.suite,
        held.cells,
        records,
        unreadable,
        held.command,
        held.looks,
        tuple(held.trials),
        held.waiting,
        *read_results(folder, names),
        held.shard,
        held.how,
    )


def share_records(records: dict[str, Record], cells: Iterable[Cell]) -> None:
    """Give every cell that is the same computation as another that one's record."""
    for cell in cells:
        if cell.same_as in records:
            records[cell.id] = records[cell.same_as]


@dataclass(frozen=True)
class _Contents:
    """What run.json holds."""

    suite: Suite
    cells: list[Cell]
    trials: list[Cell]
    waiting: int
    command: str
    looks: tuple[int, ...]
    sources: dict[str, str]
    shard: tuple[int, int] | None
    how: str


def _own_records(folder: Path, held: _Contents, brief: bool) -> tuple[dict[str, Record], dict[str, str]]:
    """Read the records of a run's cells and trials; those that contradict their cells are as good as unreadable.

    A trial that was measured with another source of its normalizer than the run was planned with is left out.
    """
    records: dict[str, Record] = {}
    unreadable: dict[str, str] = {}
    place = str(folder / "cells")
    for trial, cell in (*((True, cell) for cell in held.trials), *((False, cell) for cell in held.cells)):
        found = _read(place, cell.id)
        if isinstance(found, Record):
            found = _contradiction(found, cell) or found
        if isinstance(found, str):
            unreadable[f"{cell.id}.json"] = found
        elif found is not None:
            planned = held.sources.get(cell.settings.normalizer, found.source_hash)
            if not trial or found.source_hash == planned:
                records[cell.id] = found.model_copy(update=_LEFT_OUT) if brief else found
    return records, unreadable


def _contradiction(record: Record, cell: Cell) -> str:
    """Say where a record is, as it says itself, of another measure or of other settings than its cell; else nothing."""
    if cell.same_as is not None:
        return ""
    planned = vars(cell.settings)
    told = planned.keys() & record.settings.keys() if planned != record.settings else ()
    other = [key for key in told if planned[key] != record.settings[key]]
    if not other and record.measure == cell.measure:
        return ""
    what = f"another {min(other)}" if other else f"the measure {show_key(record.measure)}"
    return f"the record {cell.id}.json is of {what} than run.json plans"


def _contents(folder: Path) -> _Contents:
    file = folder / "run.json"
    try:
        data = parse_json(file.read_bytes(), str(file))
        cells, trials = ([Cell.from_json(cell) for cell in data.get(key, [])] for key in ("cells", "trials"))
        if "cells" not in data:
            raise KeyError("cells")
        _check_each_once((*trials, *cells))
        looks = tuple(int(look) for look in data.get("looks", ()))
        waiting = int(data.get("waiting", 0))
        sources = dict(data.get("sources", {}))  # by normalizer, the hash of its source when the run was last planned
        suite, command, how = read_suite(data["suite"]), str(data["command"]), str(data.get("how", ""))
        return _Contents(suite, cells, trials, waiting, command, looks, sources, _shard(data.get("shard")), how)
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
    except (TypeError, ValueError, OverflowError):
        fault = "it is not what a run writes"
    raise SuiteError(f"cannot read {file}: {fault}; running the suite again writes it anew")


def _shard(told: list[int] | None) -> tuple[int, int] | None:
    if told is None:
        return None
    number, count = map(int, told)
    if not 1 <= number <= count:
        raise ValueError
    return number, count


def _check_each_once(cells: Iterable[Cell]) -> None:
    counts = Counter(cell.id for cell in cells)
    for cell_id, count in counts.items():
        if count > 1:
            raise SuiteError(f"the cell {cell_id} stands there {count} times")


def read_records(folder: Path, ids: Iterable[str]) -> tuple[dict[str, Record], dict[str, str]]:
    """Read the records of these cells; give the readable by id, and by file name what is wrong with the others."""
    records: dict[str, Record] = {}
    unreadable: dict[str, str] = {}
    place = str(folder / "cells")
    for cell_id in ids:
        found = _read(place, cell_id)
        if isinstance(found, Record):
            records[cell_id] = found
        elif found is not None:
            unreadable[f"{cell_id}.json"] = found
    return records, unreadable


def _read(place: str, cell_id: str) -> Record | str | None:
    """Read a cell's record in a folder; say what is wrong with it, or give None where there is none."""
    name = f"{cell_id}.json"
    try:
        record = read_record(_bytes(f"{place}/{name}"), name)
    except FileNotFoundError:
        return None
    except (OSError, SuiteError) as error:
        return str(error)
    return record if record.id == cell_id else f"the record {name} is of another cell, {show_key(record.id)}"


def _bytes(path: str) -> bytes:
    """Read a small file. With Path and open a hundred thousand of them take twice as many calls of the system."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return b"".join(iter(lambda: os.read(handle, 1 << 16), b""))
    finally:
        os.close(handle)
