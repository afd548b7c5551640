"""``estimate.json``: what a run was estimated to take when it began, held against what it took. Needs no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normzoo_bench.files import real
from normzoo_suites import Cell, Record, Run, Suite
from normzoo_suites.selection import is_tuned

WELL = ("ok", "diverged")
FILE = "estimate.json"
SCHEMA = 1


def draft_id(suite: Suite, cell: Cell) -> str:
    """Give the id that a tuned cell has before it is tuned; of any other cell, its own."""
    if suite.select is None or not is_tuned(suite.select, cell):
        return cell.id
    defaults = {key: type(cell.settings).model_fields[key].default for key in suite.select.grid}
    return dataclasses.replace(cell, settings=cell.settings.model_copy(update=defaults)).id


_begun: dict[Path, int] = {}
"""By folder, the number of the run that this process has begun there; another runner may have begun one since."""


def begin(folder: Path, shares: Mapping[str, float], standing: Mapping[str, Record]) -> str:
    """Give the file's text when this process begins a run; what was estimated before stays where nothing is new.

    Args:
        folder: the run folder.
        shares: by id, the estimated seconds of the cells that this run will measure.
        standing: by id, records that are there and will be replaced; they are not what was estimated.

    """
    before = _read(folder)
    number = _begun[real(folder)] = before["runs"] + 1
    cells = {
        one: {"seconds": round(seconds, 4), "run": number} | ({"was": standing[one].seconds} if one in standing else {})
        for one, seconds in shares.items()
    }
    return json.dumps({"schema": SCHEMA, "runs": number, "cells": before["cells"] | cells}, indent=1)


def _read(folder: Path) -> dict[str, Any]:
    """Read the file; where it is missing or damaged nothing was estimated, which must not stop a run."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        cells = {str(one): _entry(entry) for one, entry in found["cells"].items()}
        return {"runs": int(found["runs"]), "cells": cells if found["schema"] == SCHEMA else {}}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        return {"runs": 0, "cells": {}}


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {"seconds": float(entry["seconds"]), "run": int(entry["run"])}
    return known | ({"was": float(entry["was"])} if "was" in entry else {})


@dataclass(frozen=True)
class Took:
    """Seconds of worker time that some cells were estimated to take, and that they took."""

    cells: int
    estimated: float
    took: float

    @property
    def error(self) -> float:
        """How much longer it took, as a share of the estimate."""
        return self.took / self.estimated - 1


def took(run: Run, own: bool = False) -> Took | None:
    """Hold the records of a run against what was estimated before they were measured; None where nothing was.

    With ``own`` only those cells count that the run which this process has begun last was to measure.
    """
    held, number = _read(run.folder), _begun.get(real(run.folder))
    if not held["cells"]:
        return None
    pairs = [
        (entry["seconds"], record.seconds)
        for one, record in _measured(run)
        if (entry := held["cells"].get(one)) is not None
        and not (own and entry["run"] != number)
        and entry.get("was") != record.seconds
    ]
    estimated = sum(pair[0] for pair in pairs)
    return Took(len(pairs), estimated, sum(pair[1] for pair in pairs)) if estimated > 0 else None


def _measured(run: Run) -> Iterable[tuple[str, Record]]:
    """Give the records that took time, by the id that the estimate has for them.

    What failed says little of how long it would have taken; an estimate is of what goes well.
    """
    trials = [(trial.id, trial) for trial in run.trials]
    for one, cell in (*trials, *((draft_id(run.suite, cell), cell) for cell in run.cells)):
        record = run.records.get(cell.id)
        if record is not None and cell.same_as is None and record.seconds and record.status in WELL:
            yield one, record
