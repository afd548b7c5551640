"""What is to be tracked, written down where trackers read it: by workers as it happens, by the runner at the end.

Files are used, and no queue or socket: a worker may be killed in the middle of a line, and that must hold up nobody.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normzoo_bench.training.observe import observed
from normzoo_suites import Cell, Record
from normzoo_suites.settings import AccuracySettings

JOB = ".job"  # a file of a job on its way: lines, the last of which may be cut
ENDED = ".ended"  # of a cell that has ended: appears whole


@dataclass(frozen=True)
class Spool:
    """The folders that trackers read, one for each tracker; none where nothing is tracked."""

    folders: tuple[Path, ...] = ()


NOWHERE = Spool()
_spool: ContextVar[Spool] = ContextVar("spool", default=NOWHERE)


def spool() -> Spool:
    """Give where this process writes what is to be tracked, which is to be passed to its workers."""
    return _spool.get()


@contextmanager
def spooling(into: Spool) -> Iterator[None]:
    """Have this process write into these folders meanwhile."""
    before = _spool.set(into)
    try:
        yield
    finally:
        _spool.reset(before)


@contextmanager
def begin(job: Sequence[Cell]) -> Iterator[None]:
    """Have trainings of a job, which begin meanwhile, tell their epochs as they end.

    What is timed or weighed tells nothing before its end: nobody is to read or draw while it is measured.
    """
    trained = [cell for cell in job if isinstance(cell.settings, AccuracySettings)]
    files = [_file(folder) for folder in spool().folders] if trained else []
    told = Told(tuple(file for file in files if file is not None))
    if not told.files:
        yield
        return
    told.write({"begin": [cell.to_json() for cell in trained]})
    with observed(told):
        yield


@dataclass(frozen=True)
class Told:
    """Writes every epoch of a job's trainings into these files; can be passed on to another process."""

    files: tuple[Path, ...]

    def __call__(self, seed: int, epoch: int, values: Mapping[str, float]) -> None:
        """Write down an epoch of the training under this seed."""
        self.write({"seed": seed, "epoch": epoch, "values": dict(values)})

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line to every file; one that cannot be written, or that nobody reads any more, is left out."""
        text = f"{json.dumps(line)}\n".encode()
        for file in self.files:
            try:
                opened = os.open(file, os.O_WRONLY | os.O_APPEND)  # a file that is gone must not come back
            except OSError:
                continue
            try:
                os.write(opened, text)
            except OSError:
                continue
            finally:
                os.close(opened)


def _file(folder: Path) -> Path | None:
    """Make a file for a job; None where the folder is gone, or on another machine."""
    try:
        opened, name = tempfile.mkstemp(JOB, dir=folder)
    except OSError:
        return None
    os.close(opened)
    return Path(name)


def write_ended(folder: Path, record: Record) -> None:
    """Write down how a cell has ended.

    Raises:
        OSError: when it cannot be written.

    """
    told = record.model_dump(include={"id", "measure", "settings", "status", "reason", "metrics", "series"})
    file = folder / f"{record.id}{ENDED}"
    partial = file.with_suffix(".part")
    partial.write_text(json.dumps(told), encoding="utf-8")
    partial.replace(file)
