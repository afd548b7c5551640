"""A run folder that is merged: what its run.json plans, and every record that lies in it, planned or not."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from normzoo_bench.errors import UsageError
from normzoo_suites import Record, Run, read_run
from normzoo_suites.record import parse_json
from normzoo_suites.run_folder import read_records


@dataclass(frozen=True, eq=False)
class Source:
    """One folder.

    Attributes:
        folder: as it was named.
        run: what a report would read of it.
        planned: by normalizer, the hash of its source when the run was last planned.
        records: every readable record by its id, also those that only earlier plans had.
        unreadable: by file name, what is wrong with the others.
        older: by a cell's id, the files of earlier attempts.

    """

    folder: Path
    run: Run
    planned: dict[str, str]
    records: dict[str, Record]
    unreadable: dict[str, str]
    older: dict[str, list[Path]]

    @functools.cached_property
    def outdated(self) -> frozenset[str]:
        """The trials that were measured with another source than the run was planned with: they choose nothing."""
        return frozenset(
            trial.id
            for trial in self.run.trials
            if trial.id in self.records
            and self.planned.get(trial.settings.normalizer) not in (None, self.records[trial.id].source_hash)
        )

    def content(self, cell_id: str) -> bytes:
        """Give a record's file as it is."""
        return read(self.folder / "cells" / f"{cell_id}.json")

    def older_contents(self, cell_id: str) -> list[bytes]:
        """Give the files of a cell's earlier attempts as they are."""
        return [read(file) for file in self.older.get(cell_id, ())]

    def older_digests(self, cell_id: str) -> list[str]:
        """Give what tells these files from others."""
        return [digest(content) for content in self.older_contents(cell_id)]


def digest(content: bytes) -> str:
    """Tell a file's content from others'."""
    return hashlib.sha256(content).hexdigest()


def read(file: Path) -> bytes:
    """Read a file that was there a moment ago.

    Raises:
        UsageError: when it cannot be read, or is there no more.

    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror}; where a run is at work in that folder, wait for it"
        ) from None


def read_source(folder: Path) -> Source:
    """Read a folder that is to be merged.

    Raises:
        SuiteError: when it is no run folder, or its run.json cannot be read.

    """
    run = read_run(folder)
    file = folder / "run.json"
    planned = dict(parse_json(read(file), str(file)).get("sources", {}))
    records = {cell_id: record for cell_id, record in run.records.items() if record.id == cell_id}
    names = sorted(one.stem for one in (folder / "cells").glob("*.json"))
    left = [name for name in names if name not in records and f"{name}.json" not in run.unreadable]
    more, unreadable = read_records(folder, left)
    older = defaultdict(list)
    for one in sorted((folder / "cells" / "older").glob("*.json"), key=_attempt):
        older[_attempt(one)[0]].append(one)
    return Source(folder, run, planned, records | more, run.unreadable | unreadable, dict(older))


def _attempt(file: Path) -> tuple[str, int, str]:
    """Give the id and the number out of the name ``ID.NUMBER.json`` of an earlier attempt."""
    cell_id, _, number = file.name.removesuffix(".json").partition(".")
    return cell_id, int(number) if number.isdecimal() else -1, number


def named(sources: Sequence[Source]) -> str:
    """Name folders in a sentence.

    >>> named([a, b, c])
    'runs/a, runs/b and runs/c'
    """
    names = [str(one.folder) for one in sources]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
