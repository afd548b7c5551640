"""Running a plan: one record per cell, resumed where it was left."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import normzoo
from normzoo_bench.environment import environment
from normzoo_bench.planner import Plan, source_hash
from normzoo_bench.pool import Options, outcomes
from normzoo_bench.progress import display
from normzoo_bench.result import Result
from normzoo_bench.store import Store, data_fingerprint
from normzoo_bench.worker import Outcome
from normzoo_suites import FINAL, Cell, Record, parse_call


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
    options, console = options or Options(), console or Console(stderr=True)
    store = Store(folder)
    store.open(plan, plan.request.command(out=str(folder)))
    finished, unreadable = store.finished(plan, options.retry)
    for name, reason in unreadable.items():
        console.print(f"{name} is measured again: {reason}", markup=False)
    skipped = [_record(plan, cell, _unmeasured(cell)) for cell in plan.cells if cell.skip]
    for record in skipped:
        if not store.same(record):
            store.write(record)
    waiting = [cell for cell in plan.to_do() if cell.id not in finished]
    statuses: Counter[str] = Counter(record.status for record in (*finished.values(), *skipped))
    interrupted, measured = False, 0
    try:
        with display(console, len(waiting)) as show:
            for cell, outcome in outcomes(plan, waiting, options):
                record = _record(plan, cell, outcome)
                store.write(record)
                measured += 1
                statuses[record.status] += 1
                show(record)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        store.close()
    return RunResult(folder, measured, len(finished), statuses, interrupted, unreadable)


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
        environment=outcome.environment | {"threads": getattr(cell.settings, "threads", 1)},
        seconds=round(outcome.seconds, 4),
        command=plan.request.command(cell.id),
    )


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
