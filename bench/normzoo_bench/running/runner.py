"""Running a plan: one record per cell, resumed where it was left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import normzoo
from normzoo_bench.environment import environment
from normzoo_bench.planner import Plan, source_hash
from normzoo_bench.result import Result
from normzoo_bench.running.pool import Options, outcomes
from normzoo_bench.running.progress import display
from normzoo_bench.running.store import Store, data_fingerprint
from normzoo_bench.running.worker import Outcome
from normzoo_suites import FINAL, Cell, Record, parse_call, read_run
from normzoo_suites.selection import edge_warnings, lost_warnings


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        folder: the run folder.
        measured: how many cells were measured this time.
        resumed: how many had their record already.
        statuses: how many of the plan's cells ended how, ``same_as`` cells not counted.
        interrupted: whether it was stopped before its end.
        unreadable: by file name, records that could not be read and were measured again.

    """

    folder: Path
    measured: int
    resumed: int
    statuses: Counter[str]
    interrupted: bool
    unreadable: dict[str, str]

    @property
    def exit_code(self) -> int:
        """0 when every cell ended with a result, 1 when some did not, 130 when interrupted."""
        if self.interrupted:
            return 130
        return 0 if set(self.statuses) <= FINAL else 1


def run_plan(plan: Plan, folder: Path, options: Options | None = None, console: Console | None = None) -> RunResult:
    """Measure what of a plan has no record yet.

    Raises:
        UsageError: when the folder cannot be used.

    """
    options, console = options or Options(), console or Console(stderr=True, emoji=False)
    store = Store(folder)
    store.open(plan)
    work = _Work(plan, store, options, console)
    try:
        work.tune()
        work.measure(work.plan.cells)
    except KeyboardInterrupt:
        work.interrupted = True
    finally:
        store.close()
    return RunResult(folder, work.measured, work.resumed, work.statuses, work.interrupted, work.unreadable)


class _Work:
    """A run at work: the trials first, then the cells that they tune."""

    def __init__(self, plan: Plan, store: Store, options: Options, console: Console) -> None:
        self.plan, self.store, self.options, self.console = plan, store, options, console
        self.measured, self.resumed, self.interrupted = 0, 0, False
        self.statuses: Counter[str] = Counter()
        self.unreadable: dict[str, str] = {}

    def tune(self) -> None:
        """Measure the trials that have no record, and tune the plan by all of them."""
        known, _ = self.store.finished(self.plan, frozenset(), self.plan.trials)
        self._describe(known)
        if self.plan.untuned:
            self.console.print(self.plan.untuned, style="yellow", markup=False, highlight=False)
        if self.plan.trials:
            trials = self.plan.to_do(self.plan.trials)
            left = sum(trial.id not in known for trial in trials)
            if left:
                self.console.print(f"tuning first: {left} of {len(trials)} trials to do", highlight=False)
            self._describe(self.measure(self.plan.trials))
            self._warn()

    def _describe(self, records: Mapping[str, Record]) -> None:
        self.plan = self.plan.tuned(records)
        self.store.describe(self.plan, self.plan.request.command(out=str(self.store.folder)))

    def _warn(self) -> None:
        """Say which choices lie on the edge of what was tried, and which values have no score."""
        choices = read_run(self.store.folder).choices().values()
        for line in (*edge_warnings(choices), *lost_warnings(choices)):
            self.console.print(line, style="yellow", markup=False, highlight=False)

    def measure(self, cells: Sequence[Cell]) -> dict[str, Record]:
        """Measure those of these cells that have no record; give the records of all."""
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
            for cell, outcome in outcomes(self.plan, waiting, self.options):
                records[cell.id] = _record(self.plan, cell, outcome)
                self.store.write(records[cell.id])
                self.measured += 1
                self.statuses[outcome.status] += 1
                show(records[cell.id])
        return records

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
