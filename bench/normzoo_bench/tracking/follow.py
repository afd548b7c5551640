"""What a tracker's process does: read the folder that is written for it, and show every cell as it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normzoo_bench.tracking.names import Varied, named
from normzoo_bench.tracking.registry import Curve, Ended, Tracker
from normzoo_bench.tracking.spool import ENDED, JOB


@dataclass
class _Open:
    """A cell on its way: its curve, None once the tracker has failed with it; how far it is, and what was told."""

    curve: Curve | None = None
    epochs: int = 0
    names: set[str] = field(default_factory=set)


@dataclass
class _Job:
    """A job's file: how far it was read, and the cells that it has begun, by their training's seed."""

    read: int = 0
    cells: dict[int, list[str]] = field(default_factory=dict)


class Follower:
    """Shows by one tracker what is written into a folder, and removes it there.

    ``failed`` is told of whatever the tracker raises; the cell that it was about is shown no further.
    """

    def __init__(self, folder: Path, tracker: Tracker, by: Varied, failed: Callable[[Exception], None]) -> None:
        self.folder, self.tracker, self.by, self.failed = folder, tracker, by, failed
        self.open: dict[str, _Open] = {}
        self.jobs: dict[Path, _Job] = {}

    def read(self) -> None:
        """Show what was written since."""
        # listed first: what such a cell has told before it ended stands in its job's file by now
        ended = sorted(self.folder.glob(f"*{ENDED}"))
        for file in sorted(self.folder.glob(f"*{JOB}")):
            job = self.jobs.setdefault(file, _Job())
            for line in _new_lines(file, job):
                self._hear(job, line)
        for file in ended:
            self._end(json.loads(file.read_bytes()))
            file.unlink()
        for file, job in list(self.jobs.items()):
            begun = [cell for cells in job.cells.values() for cell in cells]
            if begun and not any(cell in self.open for cell in begun):
                file.unlink(missing_ok=True)
                del self.jobs[file]

    def close(self) -> None:
        """End what no one will end any more."""
        for cell in list(self.open):
            self._close(cell, Ended("interrupted"))

    def _hear(self, job: _Job, line: dict[str, Any]) -> None:
        for cell in line.get("begin", ()):
            job.cells.setdefault(cell["settings"]["seed"], []).append(cell["id"])
            self._begin(cell)
        if "epoch" in line:
            for cell_id in job.cells.get(line["seed"], ()):
                self._epoch(cell_id, line["epoch"], line["values"])

    def _begin(self, cell: dict[str, Any]) -> None:
        if cell["id"] in self.open:  # what failed side by side is tried again, alone
            self._close(cell["id"], Ended("repeated"))
        one = self.open[cell["id"]] = _Open()
        with self._guarded(one):
            one.curve = self.tracker.begin(named(cell, self.by))

    def _epoch(self, cell_id: str, number: int, values: dict[str, float]) -> None:
        one = self.open.get(cell_id)
        if one is None or one.curve is None or number <= one.epochs:
            return
        with self._guarded(one):
            one.curve.epoch(number, values)
        one.epochs, one.names = number, one.names | values.keys()

    def _end(self, record: dict[str, Any]) -> None:
        if record["id"] not in self.open:
            self._begin(record)
        series = record["series"]
        for number, values in enumerate(zip(*series.values(), strict=False), start=1):
            self._epoch(record["id"], number, dict(zip(series, values, strict=True)))
        told = self.open[record["id"]].names
        metrics = {name: value for name, value in record["metrics"].items() if name not in told}
        self._close(record["id"], Ended(record["status"], record["reason"], metrics))

    def _close(self, cell_id: str, ended: Ended) -> None:
        one = self.open.pop(cell_id)
        with self._guarded(one):
            if one.curve is not None:
                one.curve.end(one.epochs, ended)

    @contextmanager
    def _guarded(self, one: _Open) -> Iterator[None]:
        """Give a cell's curve up where the tracker raises."""
        try:
            yield
        except Exception as error:  # a library's, of any kind
            one.curve = None
            self.failed(error)


def _new_lines(file: Path, job: _Job) -> Iterator[dict[str, Any]]:
    """Give the whole lines that were added; a worker that is killed in the middle of one leaves it cut."""
    with file.open("rb") as stream:
        stream.seek(job.read)
        text = stream.read()
    whole = text[: text.rfind(b"\n") + 1]
    job.read += len(whole)
    for line in whole.splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # a line was cut by a full disk, and the next one stands behind it
            continue
