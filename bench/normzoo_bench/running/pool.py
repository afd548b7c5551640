"""Worker processes: warm, killed at their timeout, and how each cell that they were given ended."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

import normzoo
from normzoo import plugins
from normzoo_bench.environment import environment
from normzoo_bench.planner import Plan, source_hash
from normzoo_bench.processes import machines
from normzoo_bench.result import Result
from normzoo_bench.running.jobs import apart, jobs, processes
from normzoo_bench.running.worker import TIMED, Job, Outcome, describe, run_job, start
from normzoo_suites import Cell, parse_call

BREAKS = 5
"""How many pools may break under the cells of one owner before what is left is given up."""

FAULTS = frozenset({"oom", "timeout", "crashed", "error"})
"""What may have befallen trainings only because they ran side by side."""


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        jobs: worker processes; None is one per core.
        timeout: seconds per training.
        retry: statuses of cells to measure again.
        together: how many seeds of one cell train side by side on a GPU.

    """

    jobs: int | None = None
    timeout: float = 1800.0
    retry: frozenset[str] = frozenset()
    together: int = 1


def outcomes(plan: Plan, cells: list[Cell], options: Options) -> Iterator[tuple[Cell, Outcome]]:
    """Yield every cell with how it ended, as they end; timed cells last, one at a time, each repeat in a fresh process.

    Normalizers from outside have workers of their own, each its own: whatever one does to its process, no other
    normalizer is measured there. Under torchrun there are no workers: this process is one of a cell's ranks.
    """
    if machines.joined():
        yield from machines.outcomes(plan, cells)
        return
    owners: dict[str, list[Cell]] = {}
    for cell in cells:
        owners.setdefault(_owner(cell), []).append(cell)
    for own in owners.values():
        if trained := [cell for cell in own if cell.measure not in TIMED]:
            yield from _measured(plan, trained, options, timed=False)
    for own in owners.values():
        for together in processes([cell for cell in own if cell.measure in TIMED], of=plan.cells):
            yield from _measured(plan, together, options, timed=True)


def _owner(cell: Cell) -> str:
    """Name the normalizer that needs workers of its own; empty for the built-in ones, which share theirs."""
    card = normzoo.card(parse_call(cell.settings.normalizer).name)
    return "" if card.built_in else card.name


def _measured(plan: Plan, cells: list[Cell], options: Options, timed: bool) -> Iterator[tuple[Cell, Outcome]]:
    """Measure cells of one owner; a pool that breaks is replaced, and only cells that have not ended go to the next.

    A worker that dies before it has a cell breaks its pool. That says nothing of any cell, so no record is made of it,
    unless pools break again and again.
    """
    waiting, breaks = jobs(cells, options.together), 0
    while waiting:
        todo, waiting, broke = waiting, [], False
        with _pool(plan, options, todo[0][0], 1 if timed else len(todo)) as schedule:
            for batch in [[job] for job in todo] if timed else [todo]:
                if broke:
                    waiting += batch
                    continue
                for job, outcome in _as_they_end({schedule(job): job for job in batch}):
                    if outcome is None and breaks < BREAKS:
                        broke = True
                        waiting.append(job)
                    elif outcome and len(apart(job)) > 1 and {one.status for one in outcome} & FAULTS:
                        waiting += apart(job)
                    else:
                        yield from zip(job, outcome or [_broken()] * len(job), strict=True)
        breaks += broke


def _broken() -> Outcome:
    return Outcome(
        "crashed", "its workers died before they had a cell, again and again", Result({}), environment(), 0.0
    )


@contextmanager
def _main_unseen() -> Iterator[None]:
    """Keep workers from importing the script that runs this: they need nothing of it, and an unguarded one would run.

    Processes that are spawned import ``__main__`` where it has a file or a name to be found by.
    """
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    vars(main).pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(kept)


@contextmanager
def _pool(plan: Plan, options: Options, first: Cell, count: int) -> Iterator[Callable[[Job], Future[list[Outcome]]]]:
    """Give a function that hands a job to a pool of warm workers; the pool is killed when this is left early."""
    context = multiprocessing.get_context("spawn")
    card = normzoo.card(parse_call(first.settings.normalizer).name)
    file = plugins.file_of(card.factory.__module__)
    load = tuple(path for path in plan.request.load if Path(path).expanduser().resolve() == file)
    pool = ProcessPool(
        max_workers=min(options.jobs or default_jobs(plan.cells or plan.trials), count),
        context=context,
        initializer=start,
        initargs=(os.getpid(), load),
    )

    def schedule(job: Job) -> Future[list[Outcome]]:
        source = plan.sources.get(getattr(job[0].settings, "dataset", ""))
        future: Future[list[Outcome]] = pool.schedule(
            run_job,
            args=(job, source.where if source else "", source_hash(job[0])),
            timeout=options.timeout * len(apart(job)),
        )
        return future

    with _main_unseen():
        try:
            yield schedule
            pool.close()
        except BaseException:
            pool.stop()
            raise
        finally:
            pool.join()


def default_jobs(cells: Iterable[Cell]) -> int:
    """Give how many workers suit these cells: one per core, or a single one where a GPU or all cores are shared."""
    settings = [cell.settings for cell in cells]
    if any(one.device == "cuda" or getattr(one, "ranks_backend", "virtual") == "process" for one in settings):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_they_end(jobs: dict[Future[list[Outcome]], Job]) -> Iterator[tuple[Job, list[Outcome] | None]]:
    pending = set(jobs)
    while pending:
        ended, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in ended:
            yield jobs[future], _outcomes(future, len(jobs[future]))


def _outcomes(future: Future[list[Outcome]], count: int) -> list[Outcome] | None:
    """Give how a job's cells ended, its worker's death included; None where its pool broke before it had a worker."""
    try:
        return future.result()
    except TimeoutError as error:
        seconds = error.args[1] if len(error.args) > 1 else 0.0
        ended = Outcome("timeout", f"killed after {seconds:g} s", Result({}), environment(), seconds / count)
    except ProcessExpired as error:
        how = f"signal {-error.exitcode}" if (error.exitcode or 0) < 0 else f"exit code {error.exitcode}"
        ended = Outcome("crashed", f"its worker died ({how})", Result({}), environment(), 0.0)
    except (BrokenExecutor, CancelledError):
        return None
    except Exception as error:  # what came back could not be read
        ended = Outcome("error", describe(error), Result({}), environment(), 0.0)
    return [ended] * count
