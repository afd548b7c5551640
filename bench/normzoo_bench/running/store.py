"""The run folder, written: files appear whole or not at all, and nothing measured is overwritten."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import Timeout
from pydantic import ValidationError

from normzoo_bench.errors import UsageError
from normzoo_bench.files import PARTIAL, write_whole
from normzoo_bench.planner import Plan, source_hash
from normzoo_bench.running.leases import FOLDER, Leases
from normzoo_suites import SCHEMA, Cell, Record, read_run
from normzoo_suites.errors import NewerSchemaError
from normzoo_suites.run_folder import read_records

HALF_AGE = 60.0
"""Seconds after which a file that was begun and not finished has nobody who will finish it."""


class Store:
    """One run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._leases: Leases | None = None
        self._looks: list[int] = []
        self._seen: dict[str, _Stamp] = {}

    def open(self, plan: Plan) -> None:
        """Take a place among the runners of this folder.

        Raises:
            UsageError: when the folder holds another suite's run, or this one's with other claims or tuning; when
                another run is at work in it with other cells; or when it cannot be written.

        """
        leases = Leases(self.folder, "" if plan.request.cell else _about(plan))
        try:
            (self.folder / "cells").mkdir(parents=True, exist_ok=True)
            before = self._before()
            self._check(plan, before)
            if leases.join():
                raise UsageError(
                    f"another run is at work in {self.folder}, and it measures other cells; wait for it, give the same "
                    "command to share its work, or choose another --out"
                )
            self._leases = leases
            self._remove_halves()
            self._looks = self._looks_by_now(plan, before)  # what this run writes meanwhile is no look
        except Timeout:
            raise UsageError(
                f"somebody has locked {self.folder}, as clean and merge do; wait for that, or choose another --out"
            ) from None
        except OSError as error:
            raise self._unwritable(error) from None

    def _remove_halves(self) -> None:
        """Remove the halves of files that killed runners have left; one that is being written is young."""
        places = (self.folder, *(self.folder / name for name in ("cells", "cells/older", "contracts", FOLDER)))
        for half in (file for place in places for file in place.glob(".*.part") if PARTIAL.fullmatch(file.name)):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - half.stat().st_mtime > HALF_AGE:
                    half.unlink()

    def describe(self, plan: Plan, command: str, how: str = "") -> None:
        """Write run.json for a plan; ``how`` are the options by which it is measured.

        A cell that is measured by itself (``--cell``) leaves the run.json of the run that it belongs to alone.

        Raises:
            UsageError: when it cannot be written.

        """
        before = self._before()
        if self._is_part(plan, before):
            return
        try:
            write_whole(self.folder / "run.json", json.dumps(self._content(plan, command, how), indent=1))
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> UsageError:
        reason = error.strerror or error
        return UsageError(f"cannot write to {self.folder}: {reason}; choose another folder with --out")

    def close(self) -> None:
        """Leave the folder to others."""
        if self._leases is not None:
            self._leases.leave()

    def take(self, cells: Sequence[Cell]) -> bool:
        """Take cells to measure, all or none: not what another runner measures, or has measured since we looked."""
        if self._leases is None:
            return True
        try:
            with self._leases.lock:
                news = any(self._stamp(cell.id) != self._seen.get(cell.id) for cell in cells)
                return not news and self._leases.take(cell.id for cell in cells)
        except Timeout:  # somebody holds the folder for long: it is asked again
            return False
        except OSError as error:
            raise self._unwritten(error) from None

    def give_back(self, cells: Sequence[Cell]) -> None:
        """Set cells free that are not measured any more."""
        if self._leases is not None:
            # what cannot be told now is told with the next cells
            with contextlib.suppress(OSError, Timeout):
                self._leases.give_back(cell.id for cell in cells)

    def news(self, cells: Sequence[Cell]) -> list[Cell]:
        """Give those of these cells whose record is another than when we looked: another runner has measured them."""
        return [cell for cell in cells if self._stamp(cell.id) != self._seen.get(cell.id)]

    def _stamp(self, cell_id: str) -> _Stamp:
        """Give what tells a record's file from the one that will take its place; None where there is none."""
        try:
            told = (self.folder / "cells" / f"{cell_id}.json").stat()
        except OSError:  # none, or none that can be seen: whoever reads it says why
            return None
        return told.st_ino, told.st_mtime_ns

    def _check(self, plan: Plan, before: dict[str, Any]) -> None:
        known = before.get("suite", {})
        if known and known.get("name") != plan.suite.name:
            raise UsageError(
                f"{self.folder} holds a run of the suite {known.get('name')}; choose another folder with --out"
            )
        measured = any((self.folder / "cells").glob("*.json"))
        now = plan.suite.to_json()
        for part, why in (
            ("claims", "claims are made before the run"),
            ("select", "one report needs one way of tuning"),
        ):
            if known and measured and known.get(part) != now[part]:
                raise UsageError(
                    f"{self.folder} holds records measured under other {part}, and {why}; choose another folder with "
                    "--out"
                )

    def _is_part(self, plan: Plan, before: dict[str, Any]) -> bool:
        known = {cell["id"] for cell in (*before.get("cells", []), *before.get("trials", []))}
        # a cell that waited for its trials is not among them yet
        ours = {cell.id for cell in plan.cells} <= known or before.get("suite") == plan.suite.to_json()
        return plan.request.cell is not None and ours

    def _content(self, plan: Plan, command: str, how: str) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "suite": plan.suite.to_json(),
            "cells": [cell.to_json() for cell in plan.cells],
            "trials": [cell.to_json() for cell in plan.trials],
            "waiting": plan.waiting,
            "sources": {trial.settings.normalizer: source_hash(trial) for trial in plan.trials},
            "looks": self._looks,
            "command": command,
            **({"shard": plan.request.shard} if plan.request.shard else {}),
            **({"how": how} if how else {}),
        }

    def _looks_by_now(self, plan: Plan, before: dict[str, Any]) -> list[int]:
        """Give the numbers of seeds, or repeats, at which results could be seen before more were asked for."""
        looks = [int(look) for look in before.get("looks", [])]
        cells = before.get("cells", [])
        now = plan.suite.cells()
        counted = plan.suite.replicates
        seen = len({cell["settings"][counted] for cell in cells if counted in cell["settings"]})
        asked = len({cell.settings.replicate for cell in now if counted == cell.settings.REPLICATES})
        waited = [cell["id"] for cell in cells if not (cell["skip"] or cell["same_as"])]
        finished = waited and all((self.folder / "cells" / f"{one}.json").exists() for one in waited)
        return [*looks, seen] if finished and not before.get("waiting") and asked > seen > 0 else looks

    def write(self, record: Record) -> None:
        """Write a record; one that stands there already is kept beside, under ``older/``.

        Where another runner has written one since we took the cell, as may happen to a machine that was asleep, that
        one stays, and ours is kept beside.
        """
        file = self.folder / "cells" / f"{record.id}.json"
        late = self._leases is not None and self._stamp(record.id) != self._seen.get(record.id)
        try:
            if late:
                write_whole(self._beside(record.id), record.to_json())
                return
            if file.exists():
                shutil.copyfile(file, self._beside(record.id))
            write_whole(file, record.to_json())
            self._seen[record.id] = self._stamp(record.id)
        except OSError as error:
            raise self._unwritten(error) from None

    def _unwritten(self, error: OSError) -> UsageError:
        return UsageError(
            f"cannot write to {self.folder}: {error.strerror or error}; what was written before is kept, and the same "
            "command goes on from there"
        )

    def _beside(self, cell_id: str) -> Path:
        older = self.folder / "cells" / "older"
        older.mkdir(exist_ok=True)
        numbers = [int(file.name.split(".")[1]) for file in older.glob(f"{cell_id}.*.json")]
        return older / f"{cell_id}.{max(numbers, default=-1) + 1}.json"

    def finished(
        self, plan: Plan, retry: frozenset[str], among: Sequence[Cell] | None = None
    ) -> tuple[dict[str, Record], dict[str, str]]:
        """Give the records that count for this plan, or for these cells of it, by id; and why others cannot be read.

        A record counts while the normalizer's source and the data are what they were, unless its status is one to
        ``retry``. (Protocol, settings and device are in its id.) What a plan has skipped, and this one would measure,
        counts as not measured: it was never tried.
        """
        cells = {cell.id: cell for cell in plan.to_do(among)}
        self._seen |= {cell_id: self._stamp(cell_id) for cell_id in cells}  # before they are read
        records, unreadable = read_records(self.folder, list(cells))
        counting = {
            cell_id: record
            for cell_id, record in records.items()
            if record.status not in retry
            and not (record.status == "skipped" and record.seconds == 0)  # skipped in a plan, which takes no time
            and _asks(record, cells[cell_id])
            and record.source_hash == source_hash(cells[cell_id])
            and record.data_fingerprint == data_fingerprint(plan, cells[cell_id])
        }
        return counting, unreadable

    def same(self, record: Record) -> bool:
        """Tell whether a skipped cell's record already stands there with the same reason."""
        self._seen[record.id] = self._stamp(record.id)
        records, _ = read_records(self.folder, [record.id])
        return record.id in records and records[record.id].reason == record.reason

    def _before(self) -> dict[str, Any]:
        """Give what run.json holds; nothing where there is none or it is damaged, since it is written anew."""
        try:
            read_run(self.folder)  # refuses what no run has written
            return dict(json.loads((self.folder / "run.json").read_text(encoding="utf-8")))
        except NewerSchemaError as error:
            raise UsageError(f"{error}, or choose another folder with --out") from None
        except (OSError, ValueError):
            return {}


def _asks(record: Record, cell: Cell) -> bool:
    """Tell whether a record is of this cell; what a setting that it did not know yet is now, it was by default."""
    if record.measure != cell.measure:
        return False
    try:
        return type(cell.settings).model_validate(record.settings) == cell.settings
    except ValidationError:
        return False


_Stamp = tuple[int, int] | None
"""By its inode and time a record's file is told from one that took its place."""


def _about(plan: Plan) -> str:
    """Give a hash of what a plan measures: runners of one plan may work side by side."""
    return hashlib.sha256(json.dumps(plan.suite.to_json(), sort_keys=True).encode()).hexdigest()


def data_fingerprint(plan: Plan, cell: Cell) -> str:
    """Give the fingerprint of a cell's decoded data."""
    dataset = plan.dataset(cell)
    return dataset.fingerprint if dataset else ""
