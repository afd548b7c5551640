"""A run folder, read: `run.json` (the suite and its cells), `cells/<id>.json` (one record each), `contracts/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from normzoo_suites.cell import Cell
from normzoo_suites.contracts import ContractResult, read_results
from normzoo_suites.errors import NewerSchemaError, SuiteError
from normzoo_suites.load import read_suite
from normzoo_suites.record import Record, parse_json, read_record
from normzoo_suites.schema import Suite
from normzoo_suites.selection import Choice, choose


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

    def choices(self) -> dict[str, Choice]:
        """Give what the trials have chosen, by condition, as far as they have."""
        select = self.suite.select
        return choose(select, self.suite.cells(), self.records) if select else {}


def read_run(folder: str | Path) -> Run:
    """Read a run folder.

    Raises:
        SuiteError: when it is no run folder, or its run.json cannot be read.

    """
    folder = Path(folder)
    held = _contents(folder)
    records, unreadable = read_records(folder, [cell.id for cell in (*held.trials, *held.cells)])
    _set_aside_foreign(records, unreadable, (*held.trials, *held.cells))
    _forget_outdated(records, held)
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


def _forget_outdated(records: dict[str, Record], held: _Contents) -> None:
    """Leave out trials that were measured with another source of their normalizer than the run was planned with."""
    for trial in held.trials:
        planned = held.sources.get(trial.settings.normalizer)
        if planned is not None and trial.id in records and records[trial.id].source_hash != planned:
            del records[trial.id]


def _set_aside_foreign(records: dict[str, Record], unreadable: dict[str, str], cells: Iterable[Cell]) -> None:
    """Take for unreadable what says of itself that it is of another measure, or of other settings, than its cell."""
    for cell in cells:
        record = records.get(cell.id)
        if record is None or cell.same_as is not None:
            continue
        planned = cell.settings.model_dump()
        other = [key for key in planned.keys() & record.settings.keys() if planned[key] != record.settings[key]]
        if other or record.measure != cell.measure:
            what = f"another {min(other)}" if other else f"the measure {record.measure}"
            unreadable[f"{cell.id}.json"] = f"the record {cell.id}.json is of {what} than run.json plans"
            del records[cell.id]


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
        return _Contents(read_suite(data["suite"]), cells, trials, waiting, str(data["command"]), looks, sources)
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


def _check_each_once(cells: Iterable[Cell]) -> None:
    counts = Counter(cell.id for cell in cells)
    for cell_id, count in counts.items():
        if count > 1:
            raise SuiteError(f"the cell {cell_id} stands there {count} times")


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
