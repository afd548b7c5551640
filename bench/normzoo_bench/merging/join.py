"""Run folders held against each other, and what the joined folder then holds, file by file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from normzoo_bench.files import real, write_whole
from normzoo_bench.merging.alike import check_alike, joined_sources, joined_suite
from normzoo_bench.merging.attempts import decide
from normzoo_bench.merging.contracts import joined_contracts
from normzoo_bench.merging.files import differs
from normzoo_bench.merging.going_on import command, looks
from normzoo_bench.merging.kept import kept
from normzoo_bench.merging.merged import Merged
from normzoo_bench.merging.plan import joined_plan
from normzoo_bench.merging.refusals import hardware
from normzoo_bench.merging.source import Source, read_source
from normzoo_suites import SCHEMA
from normzoo_suites.contracts import FOLDER


class Join:
    """Run folders that can be joined.

    Args:
        folders: the folders, the first of which is the destination where that holds a run.
        to: the destination.
        prefer: the folder whose records stand where folders contradict each other.

    Raises:
        UsageError, SuiteError: where they cannot be read, or joined.

    """

    def __init__(self, folders: Sequence[Path], to: Path, prefer: Path | None) -> None:
        self.to = to
        self.sources = [read_source(folder) for folder in folders]
        check_alike(self.sources)
        preferred = self._source(prefer)
        self.planned = joined_sources(self.sources, preferred)
        self.suite = joined_suite(self.sources)
        self.decided = decide(self.sources, preferred)
        records = {cell_id: one.record for cell_id, one in self.decided.standing.items()}
        self.plan = joined_plan(self.suite, self.sources, records, self.planned)
        self.command = command(self.sources, self.plan, to)
        self.own = self._source(to)
        self.kept = kept(self.own, self.sources, self.decided)
        self.contracts, self.wrong_contracts = joined_contracts(self.sources, records.values(), preferred)

    def _source(self, folder: Path | None) -> Source | None:
        wanted = real(folder) if folder else None
        return next((one for one in self.sources if real(one.folder) == wanted), None)

    def write(self, dry_run: bool = False) -> Merged:
        """Write what is not there yet, take away what no longer counts; say how much that is.

        Raises:
            OSError: when it cannot be written; all that was written before is whole, and a run folder.

        """
        written = 0
        for file, content in self._files():
            if differs(file, content):
                written += 1
                if not dry_run:
                    file.parent.mkdir(exist_ok=True)
                    write_whole(file, content)
        for cell_id in self.own.records.keys() - self.decided.standing.keys() if self.own else ():
            written += 1
            if not dry_run:  # what no longer counts is in older/ by now
                (self.to / "cells" / f"{cell_id}.json").unlink()
        return self._told(written, dry_run)

    def _files(self) -> Iterator[tuple[Path, bytes]]:
        """Give all files: run.json first, and what is replaced before what replaces it: a merge may be stopped."""
        cells = self.to / "cells"
        yield self.to / "run.json", self._content().encode()
        for name, content in self.kept.items():
            yield cells / "older" / name, content
        for cell_id, attempt in self.decided.standing.items():
            if attempt.source is not self.own:
                yield cells / f"{cell_id}.json", attempt.content
        for name, content in self.contracts.items():
            yield self.to / FOLDER / name, content

    def _content(self) -> str:
        content = {
            "schema": SCHEMA,
            "suite": self.suite.to_json(),
            "cells": [cell.to_json() for cell in self.plan.cells],
            "trials": [cell.to_json() for cell in self.plan.trials],
            "waiting": self.plan.waiting,
            "sources": self.planned,
            "looks": looks(self.sources, self.suite),
            "command": self.command,
        }
        return json.dumps(content, indent=1)

    def _told(self, written: int, dry_run: bool) -> Merged:
        measured = [cell for cell in (*self.plan.trials, *self.plan.cells) if cell.same_as is None]
        standing = [self.decided.standing[cell.id] for cell in measured if cell.id in self.decided.standing]
        left = sum(cell.same_as is None and cell.id not in self.decided.standing for cell in self.plan.cells)
        taken = Counter({str(one.folder): 0 for one in self.sources})
        taken.update(str(one.source.folder) for one in standing)
        unreadable = {
            str(one.folder / "cells" / name): fault for one in self.sources for name, fault in one.unreadable.items()
        }
        return Merged(
            folder=self.to,
            suite=self.suite.name,
            cells=len(self.plan.cells) + self.plan.waiting,
            to_do=left + self.plan.waiting,
            taken=taken,
            hardware=Counter(hardware(one.record) for one in standing if one.tried and one.record.environment),
            kept=len(self.kept) + (sum(map(len, self.own.older.values())) if self.own else 0),
            unreadable=unreadable | self.wrong_contracts,
            written=written,
            command=self.command,
            dry_run=dry_run,
        )
