"""Reports made in several processes: drawing takes a second or more for each, and matplotlib holds one core."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normzoo_suites import SuiteError

if TYPE_CHECKING:
    from normzoo_reports.publishing.making import Made

_EACH = 2  # reports that make up for what a process spends on importing matplotlib


def make_all(runs: Sequence[Path], jobs: int | None) -> Iterator[Made]:
    """Make the reports of these runs, in their order.

    Args:
        runs: run folders.
        jobs: how many processes at most, one per core unless told.

    Raises:
        SuiteError: when one cannot be made, or a process was killed.

    """
    jobs = jobs or _cores()
    count = min(jobs, -(-len(runs) // _EACH))
    if count < 2:
        yield from map(_make, runs)
        return
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            with _main_unseen():
                waiting = [pool.submit(_make, run) for run in runs]
            for one in waiting:
                yield one.result()
        except BrokenProcessPool:
            raise SuiteError(
                "a process that made reports was killed, perhaps for want of memory; try --jobs 1"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _make(run: Path) -> Made:
    from normzoo_reports.publishing.making import make

    return make(run)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _main_unseen() -> Iterator[None]:
    """Keep processes from importing the script that publishes: one without a guard would publish again in each."""
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    vars(main).pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(kept)
