"""Worker processes: warm, killed at their timeout, and how each cell that they were given ended."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

import normzoo
from normzoo import plugins
from normzoo_bench.environment import environment
from normzoo_bench.planner import Plan
from normzoo_bench.result import Result
from normzoo_bench.worker import Outcome, describe, run_cell, start
from normzoo_suites import Cell, parse_call

ALONE = frozenset({"throughput"})
"""Measures that are timed: their cells run one at a time, after all others."""


@dataclass(frozen=True)
class Options:
    """How to run: worker processes (None: one per core), seconds per cell, statuses to measure again."""

    jobs: int | None = None
    timeout: float = 1800.0
    retry: frozenset[str] = frozenset()


def outcomes(plan: Plan, cells: list[Cell], options: Options) -> Iterator[tuple[Cell, Outcome]]:
    """Yield every cell with how it ended, as they end; timed cells last and one at a time.

    Normalizers from outside have workers of their own, one file's never another's: whatever such a file does to its
    process, no other normalizer is measured there.
    """
    origins: dict[str, list[Cell]] = {}
    for cell in cells:
        origins.setdefault(_origin(cell), []).append(cell)
    for timed in (False, True):
        for origin, own in origins.items():
            some = [cell for cell in own if (cell.measure in ALONE) == timed]
            load = tuple(path for path in plan.request.load if str(Path(path).expanduser().resolve()) == origin)
            if some:
                with _pool(plan, options, load, 1 if timed else len(some)) as schedule:
                    for batch in [[cell] for cell in some] if timed else [some]:
                        yield from _as_they_end({schedule(cell): cell for cell in batch})


def _origin(cell: Cell) -> str:
    """Give the loaded file that a cell's normalizer comes from; empty for what is installed."""
    card = normzoo.card(parse_call(cell.settings.normalizer).name)
    return str(plugins.file_of(card.factory.__module__) or "")


@contextmanager
def _pool(
    plan: Plan, options: Options, load: tuple[str, ...], cells: int
) -> Iterator[Callable[[Cell], Future[Outcome]]]:
    """Give a function that hands a cell to a pool of warm workers; the pool is killed when this is left early."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPool(
        max_workers=min(options.jobs or default_jobs(plan.cells), cells),
        context=context,
        initializer=start,
        initargs=(os.getpid(), load),
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
