"""Running a plan: one record per cell, resumed where it was left."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import normzoo
from normzoo_bench import tracking
from normzoo_bench.cost.remember import remember
from normzoo_bench.environment import environment
from normzoo_bench.planner import Plan, source_hash
from normzoo_bench.result import Result
from normzoo_bench.running.executors import Outcomes, executor
from normzoo_bench.running.progress import display
from normzoo_bench.running.rounds import Options, how
from normzoo_bench.running.store import Store, data_fingerprint
from normzoo_bench.running.worker import Outcome
from normzoo_suites import FINAL, Cell, Record, parse_call, read_run
from normzoo_suites.selection import edge_warnings, lost_warnings

LOOK = 1.0
"""Seconds until it is looked again whether another runner has measured what is left."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        folder: the run folder.
        measured: how many cells were measured this time.
        resumed: how many had their record already, or had it from another runner meanwhile.
        statuses: how many of the plan's cells ended how, ``same_as`` cells not counted.
        interrupted: whether it was stopped before its end.
        unreadable: by file name, records that could not be read and were measured again.
        failed_fast: whether a fault ended it, as was asked.

    """

    folder: Path
    measured: int
    resumed: int
    statuses: Counter[str]
    interrupted: bool
    unreadable: dict[str, str]
    failed_fast: bool = False

    @property
    def exit_code(self) -> int:
        """0 when every cell ended with a result, 1 when some did not, 130 when interrupted."""
        if self.interrupted:
            return 130
        return 0 if set(self.statuses) <= FINAL else 1


def run_plan(plan: Plan, folder: Path, options: Options | None = None, console: Console | None = None) -> RunResult:
    """Measure what of a plan has no record yet.

    Raises:
        UsageError: when the folder, or the executor, cannot be used.

    """
    options, console = options or Options(), console or Console(stderr=True, emoji=False)
    store = Store(folder)
    with executor(options, functools.partial(_warn, console)) as outcomes:
        store.open(plan)
        work = _Work(plan, store, options, console, outcomes)
        failed_fast = False
        try:
            remember(plan, store, options.retry)
            with tracking.started(options.track, folder, plan, work.warn) as work.tracked:
                work.tune()
                work.measure(work.plan.cells)
                work.conclude()
        except KeyboardInterrupt:
            work.interrupted = True
        except _FailFastError:
            failed_fast = True
        finally:
            store.close()
    return RunResult(folder, work.measured, work.resumed, work.statuses, work.interrupted, work.unreadable, failed_fast)


def _warn(console: Console, line: str) -> None:
    console.print(line, style="yellow", markup=False, highlight=False)


class _FailFastError(Exception):
    """A cell has ended without a result, and the run is to end by that."""


class _Work:
    """A run at work: the trials first, then the cells that they tune."""

    def __init__(self, plan: Plan, store: Store, options: Options, console: Console, outcomes: Outcomes) -> None:
        self.plan, self.store, self.options, self.console, self.outcomes = plan, store, options, console, outcomes
        self.measured, self.resumed, self.interrupted = 0, 0, False
        self.statuses: Counter[str] = Counter()
        self.unreadable: dict[str, str] = {}
        self.tracked = tracking.Session((), self.warn)

    def warn(self, line: str) -> None:
        """Say what whoever runs this should know."""
        _warn(self.console, line)

    def tune(self) -> None:
        """Measure the trials that have no record, and tune the plan by all of them."""
        known, _ = self.store.finished(self.plan, frozenset(), self.plan.trials)
        self._describe(known)
        if self.plan.untuned:
            self.console.print(self.plan.untuned, style="yellow", markup=False, highlight=False)
        if self.plan.trials:
            trials = self.plan.to_do(self.plan.part(self.plan.trials))
            left = sum(trial.id not in known for trial in trials)
            if left:
                self.console.print(f"tuning first: {left} of {len(trials)} trials to do", highlight=False)
            self._describe(known | self.measure(self.plan.trials))
            self._warn()

    def conclude(self) -> None:
        """Describe the run once more where other runners have tuned cells of it meanwhile."""
        if self.plan.waiting:
            self._describe(self.store.finished(self.plan, frozenset(), self.plan.trials)[0])

    def _describe(self, records: Mapping[str, Record]) -> None:
        self.plan = self.plan.tuned(records)
        command = self.plan.request.command(out=str(self.store.folder))
        self.store.describe(self.plan, command, how(self.options))

    def _warn(self) -> None:
        """Say which choices lie on the edge of what was tried, and which values have no score."""
        choices = read_run(self.store.folder).choices().values()
        for line in (*edge_warnings(choices), *lost_warnings(choices)):
            self.console.print(line, style="yellow", markup=False, highlight=False)

    def measure(self, cells: Sequence[Cell]) -> dict[str, Record]:
        """Measure those of these cells that are ours and have no record; give the records of all."""
        cells = self.plan.part(cells)
        records, unreadable = self.store.finished(self.plan, self.options.retry, cells)
        self.unreadable |= unreadable
        for name, reason in unreadable.items():
            self.console.print(f"{name} is measured again: {reason}", markup=False)
        self.resumed += len(records)
        self.statuses.update(record.status for record in records.values())
        for cell in cells:
            if cell.skip:
                records[cell.id] = self._skip(cell)
        waiting = [cell for cell in self.plan.to_do(cells) if cell.id not in records]
        with display(self.console, len(waiting)) as show:
            while waiting:
                for record in self._measured(waiting):
                    records[record.id] = record
                    show(record)
                for record in self._from_others([cell for cell in waiting if cell.id not in records]):
                    records[record.id] = record
                    show(record)
                left = [cell for cell in waiting if cell.id not in records]
                if len(left) == len(waiting):
                    time.sleep(LOOK)  # another runner has them all
                waiting = left
        return records

    def _measured(self, cells: list[Cell]) -> Iterator[Record]:
        """Measure what of these cells no other runner has; write the records."""
        # whatever ends this, their workers end with it
        with contextlib.closing(self.outcomes(self.plan, cells, self.store.take)) as ended:
            for cell, outcome in ended:
                record = _record(self.plan, cell, outcome)
                self.store.write(record)
                self.store.give_back([cell])
                self.tracked.ended(record)
                self.measured += 1
                self.statuses[record.status] += 1
                yield record
                if self.options.fail_fast and record.status not in FINAL:
                    raise _FailFastError

    def _from_others(self, cells: list[Cell]) -> Iterator[Record]:
        """Give the records of these cells that other runners have written meanwhile, whatever their status."""
        news = self.store.news(cells)
        found, _ = self.store.finished(self.plan, frozenset(), news)
        self.resumed += len(found)
        self.statuses.update(record.status for record in found.values())
        yield from found.values()

    def _skip(self, cell: Cell) -> Record:
        record = _record(self.plan, cell, _unmeasured(cell))
        if not self.store.same(record):
            self.store.write(record)
        self.statuses[record.status] += 1
        return record


def _unmeasured(cell: Cell) -> Outcome:
    return Outcome("skipped", cell.skip or "", Result({}), environment(), 0.0)


def _record(plan: Plan, cell: Cell, outcome: Outcome) -> Record:
    call = parse_call(cell.settings.normalizer)
    return Record(
        id=cell.id,
        suite=plan.suite.name,
        measure=cell.measure,
        settings=cell.settings.model_dump(),
        status=outcome.status,
        reason=outcome.reason,
        metrics=outcome.result.metrics,
        series=outcome.result.series,
        samples=outcome.result.samples,
        card=_card(call.name) | {"options": dict(call.options) | outcome.result.options},
        source_hash=source_hash(cell),
        data_fingerprint=data_fingerprint(plan, cell),
        split=outcome.result.split,
        conditions=outcome.result.conditions,
        environment=outcome.environment | {"threads": getattr(cell.settings, "threads", 1)},
        log=outcome.log,
        seconds=round(outcome.seconds, 4),
        command=plan.request.command(cell.id, tuned=_tuned(plan, cell)),
    )


def _tuned(plan: Plan, cell: Cell) -> dict[str, str]:
    """Give what a result's tuning has set, which whoever measures it again must say; a trial is found by its id."""
    select, settings = plan.suite.select, cell.settings.model_dump()
    if select is None or settings.get("evaluate_on") != "test":
        return {}
    return {key: str(settings[key]) for key in select.grid}


def _card(name: str) -> dict[str, Any]:
    card = normzoo.card(name)
    return {
        "name": card.name,
        "paper": card.paper,
        "year": card.year,
        "pools": sorted(card.pools),
        "running_stats": card.running_stats,
        "summary": card.summary,
    }
