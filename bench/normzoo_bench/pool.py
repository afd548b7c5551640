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
from normzoo_bench.result import Result
from normzoo_bench.worker import Outcome, describe, run_cell, start
from normzoo_suites import Cell, parse_call

ALONE = frozenset({"throughput"})
"""Measures that are timed: their cells run one at a time, after all others."""


BREAKS = 5
"""How many pools may break under the cells of one owner before what is left is given up."""

BROKEN = "its workers died before they had a cell, again and again"


@dataclass(frozen=True)
class Options:
    """How to run: worker processes (None: one per core), seconds per cell, statuses to measure again."""

    jobs: int | None = None
    timeout: float = 1800.0
    retry: frozenset[str] = frozenset()


def outcomes(plan: Plan, cells: list[Cell], options: Options) -> Iterator[tuple[Cell, Outcome]]:
    """Yield every cell with how it ended, as they end; timed cells last and one at a time.

    Normalizers from outside have workers of their own, each its own: whatever one does to its process, no other
    normalizer is measured there.
    """
    owners: dict[str, list[Cell]] = {}
    for cell in cells:
        owners.setdefault(_owner(cell), []).append(cell)
    for timed in (False, True):
        for own in owners.values():
            some = [cell for cell in own if (cell.measure in ALONE) == timed]
            if some:
                yield from _measured(plan, some, options, timed)


def _owner(cell: Cell) -> str:
    """Name the normalizer that needs workers of its own; empty for the built-in ones, which share theirs."""
    card = normzoo.card(parse_call(cell.settings.normalizer).name)
    return "" if card.built_in else card.name


def _measured(plan: Plan, cells: list[Cell], options: Options, timed: bool) -> Iterator[tuple[Cell, Outcome]]:
    """Measure cells of one owner; a pool that breaks is replaced, and only cells that have not ended go to the next.

    A worker that dies before it has a cell breaks its pool. That says nothing of any cell, so no record is made of it,
    unless pools break again and again.
    """
    waiting = list(cells)
    for attempt in range(BREAKS + 1):
        last = attempt == BREAKS
        with _pool(plan, options, waiting[0], 1 if timed else len(waiting)) as schedule:
            for batch in [[cell] for cell in waiting] if timed else [list(waiting)]:
                for cell, outcome in _as_they_end({schedule(cell): cell for cell in batch}):
                    if outcome is not None or last:
                        waiting.remove(cell)
                        yield cell, outcome or Outcome("crashed", BROKEN, Result({}), environment(), 0.0)
                if len(waiting) and timed and batch[0] in waiting:
                    break
        if not waiting:
            return


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
def _pool(plan: Plan, options: Options, first: Cell, cells: int) -> Iterator[Callable[[Cell], Future[Outcome]]]:
    """Give a function that hands a cell to a pool of warm workers; the pool is killed when this is left early."""
    context = multiprocessing.get_context("spawn")
    card = normzoo.card(parse_call(first.settings.normalizer).name)
    file = plugins.file_of(card.factory.__module__)
    load = tuple(path for path in plan.request.load if Path(path).expanduser().resolve() == file)
    pool = ProcessPool(
        max_workers=min(options.jobs or default_jobs(plan.cells), cells),
        context=context,
        initializer=start,
        initargs=(os.getpid(), load),
    )

    def schedule(cell: Cell) -> Future[Outcome]:
        source = plan.sources.get(getattr(cell.settings, "dataset", ""))
        future: Future[Outcome] = pool.schedule(
            run_cell, args=(cell, source.where if source else "", source_hash(cell)), timeout=options.timeout
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
    """Give how many workers suit these cells: one per core, or a single one where they share a GPU."""
    if any(cell.settings.device == "cuda" for cell in cells):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_they_end(cells: dict[Future[Outcome], Cell]) -> Iterator[tuple[Cell, Outcome | None]]:
    pending = set(cells)
    while pending:
        ended, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in ended:
            yield cells[future], _outcome(future)


def _outcome(future: Future[Outcome]) -> Outcome | None:
    """Give how a cell ended, its worker's death included; None where its pool broke before it had a worker."""
    try:
        return future.result()
    except TimeoutError as error:
        seconds = error.args[1] if len(error.args) > 1 else 0.0
        return Outcome("timeout", f"killed after {seconds:g} s", Result({}), environment(), seconds)
    except ProcessExpired as error:
        how = f"signal {-error.exitcode}" if (error.exitcode or 0) < 0 else f"exit code {error.exitcode}"
        return Outcome("crashed", f"its worker died ({how})", Result({}), environment(), 0.0)
    except (BrokenExecutor, CancelledError):
        return None
    except Exception as error:  # what came back could not be read
        return Outcome("error", describe(error), Result({}), environment(), 0.0)
