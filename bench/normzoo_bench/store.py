"""The run folder, written: files appear whole or not at all, and nothing measured is overwritten."""

from __future__ import annotations

import json
import os
from pathlib import Path

import normzoo
from normzoo_bench.errors import UsageError
from normzoo_bench.planner import Plan
from normzoo_suites import SCHEMA, Cell, Record, parse_call
from normzoo_suites.run_folder import read_records


class Store:
    """One run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, plan: Plan, command: str) -> None:
        """Write run.json for a plan.

        Raises:
            UsageError: when the folder holds another suite's run, or cannot be written.

        """
        known = self._suite()
        if known not in (None, plan.suite.name):
            raise UsageError(f"{self.folder} holds a run of the suite {known}; choose another folder with --out")
        content = {
            "schema": SCHEMA,
            "suite": plan.suite.to_json(),
            "cells": [cell.to_json() for cell in plan.cells],
            "command": command,
        }
        try:
            (self.folder / "cells").mkdir(parents=True, exist_ok=True)
            _write(self.folder / "run.json", json.dumps(content, indent=1, ensure_ascii=False))
        except OSError as error:
            raise UsageError(
                f"cannot write to {self.folder}: {error.strerror}; choose another folder with --out"
            ) from None

    def write(self, record: Record) -> None:
        """Write a record; one that stands there already is kept beside, under ``older/``."""
        file = self.folder / "cells" / f"{record.id}.json"
        if file.exists():
            older = self.folder / "cells" / "older"
            older.mkdir(exist_ok=True)
            number = sum(1 for _ in older.glob(f"{record.id}.*"))
            file.rename(older / f"{record.id}.{number}.json")
        _write(file, record.to_json())

    def finished(self, plan: Plan, retry: frozenset[str]) -> tuple[dict[str, Record], dict[str, str]]:
        """Give the records that count for this plan, by id, and by file name why others cannot be read.

        A record counts while the normalizer's source and the data are what they were, unless its status is one to
        ``retry``. (Protocol, settings and device are in its id.)
        """
        records, unreadable = read_records(self.folder, [cell.id for cell in plan.to_do()])
        cells = {cell.id: cell for cell in plan.cells}
        counting = {
            cell_id: record
            for cell_id, record in records.items()
            if record.status not in retry
            and record.status != "skipped"
            and record.source_hash == source_hash(cells[cell_id])
            and record.data_fingerprint == data_fingerprint(plan, cells[cell_id])
        }
        return counting, unreadable

    def same(self, record: Record) -> bool:
        """Tell whether a skipped cell's record already stands there with the same reason."""
        records, _ = read_records(self.folder, [record.id])
        return record.id in records and records[record.id].reason == record.reason

    def _suite(self) -> str | None:
        try:
            content = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
            return str(content["suite"]["name"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def source_hash(cell: Cell) -> str:
    """Hash the source of a cell's normalizer."""
    return normzoo.card(parse_call(cell.settings.normalizer).name).source_hash


def data_fingerprint(plan: Plan, cell: Cell) -> str:
    """Give the fingerprint of a cell's decoded data."""
    dataset = plan.dataset(cell)
    return dataset.fingerprint if dataset else ""


def _write(file: Path, text: str) -> None:
    """Write a file by rename, so that a reader, or a power cut, sees the old one or the new one."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
