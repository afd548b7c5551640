"""Running a plan: cells in worker processes with a hard timeout, one record each, resumed where it was left."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool
from rich.console import Console

import normzoo
from normzoo_bench.environment import environment
from normzoo_bench.planner import Plan
from normzoo_bench.progress import display
from normzoo_bench.result import Result
from normzoo_bench.store import Store, data_fingerprint, source_hash
from normzoo_bench.worker import Outcome, describe, run_cell, start
from normzoo_suites import FINAL, Cell, Record, parse_call

ALONE = frozenset({"throughput"})
"""Measures that are timed: their cells run one at a time, after all others."""


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


@dataclass(frozen=True)
class Options:
    """How to run: worker processes (None: one per core), seconds per cell, statuses to measure again."""

    jobs: int | None = None
    timeout: float = 1800.0
    retry: frozenset[str] = frozenset()


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
            for cell, outcome in _outcomes(plan, waiting, options):
                record = _record(plan, cell, outcome)
                store.write(record)
                measured += 1
                statuses[record.status] += 1
                show(record)
    except KeyboardInterrupt:
        interrupted = True
    return RunResult(folder, measured, len(finished), statuses, interrupted, unreadable)


def _outcomes(plan: Plan, cells: list[Cell], options: Options) -> Iterator[tuple[Cell, Outcome]]:
    """Yield every cell with how it ended, as they end; timed cells last and one at a time."""
    if not cells:
        return
    together = [cell for cell in cells if cell.measure not in ALONE]
    alone = [cell for cell in cells if cell.measure in ALONE]
    with _pool(plan, options, len(together) or 1) as schedule:
        yield from _as_they_end({schedule(cell): cell for cell in together})
        for cell in alone:
            yield from _as_they_end({schedule(cell): cell})


@contextmanager
def _pool(plan: Plan, options: Options, cells: int) -> Iterator[Callable[[Cell], Future[Outcome]]]:
    """Give a function that hands a cell to a pool of warm workers; the pool is killed when this is left early."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPool(
        max_workers=min(options.jobs or default_jobs(plan.cells), cells),
        context=context,
        initializer=start,
        initargs=(os.getpid(), plan.request.load),
    )

    def schedule(cell: Cell) -> Future[Outcome]:
        source = plan.sources.get(getattr(cell.settings, "dataset", ""))
        future: Future[Outcome] = pool.schedule(
            run_cell, args=(cell, source.where if source else ""), timeout=options.timeout
        )
        return future

    try:
        yield schedule
        pool.close()
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.join()


def default_jobs(cells: Iterable[Cell]) -> int:
    """Give how many workers suit these cells: one per core, or a single one where they share a GPU."""
    if any(cell.settings.device == "cuda" for cell in cells):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_they_end(cells: dict[Future[Outcome], Cell]) -> Iterator[tuple[Cell, Outcome]]:
    pending = set(cells)
    while pending:
        ended, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in ended:
            yield cells[future], _outcome(future)


def _outcome(future: Future[Outcome]) -> Outcome:
    """Give how a cell ended, its worker's death included."""
    try:
        return future.result()
    except TimeoutError as error:
        seconds = error.args[1] if len(error.args) > 1 else 0.0
        return Outcome("timeout", f"killed after {seconds:g} s", Result({}), environment(), seconds)
    except ProcessExpired as error:
        how = f"signal {-error.exitcode}" if (error.exitcode or 0) < 0 else f"exit code {error.exitcode}"
        return Outcome("crashed", f"its worker died ({how})", Result({}), environment(), 0.0)
    except Exception as error:  # the worker could not even start the cell
        return Outcome("error", describe(error), Result({}), environment(), 0.0)


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
        environment=outcome.environment,
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
