"""Keeps in a run folder what a run was estimated to take when it began."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from normzoo_bench.cost.afterwards import FILE, begin
from normzoo_bench.cost.estimate import estimate
from normzoo_bench.cost.knowledge import known_of
from normzoo_bench.cost.work import work_of
from normzoo_bench.files import write_whole
from normzoo_bench.planner import Plan
from normzoo_bench.running.store import Store
from normzoo_suites.run_folder import read_records


def remember(plan: Plan, store: Store, retry: Iterable[str] = ()) -> None:
    """Write down what the cells that a run is about to measure are estimated to take; see ``afterwards``.

    Cells that have no record like them have no estimate. A folder that cannot be written is not told here: the first
    record will.

    Args:
        plan: the run's.
        store: its folder, opened.
        retry: statuses whose cells are measured again.

    """
    again = frozenset(retry)
    known, _ = store.finished(plan, again, plan.trials)
    plan = plan.tuned(known)
    finished = known | store.finished(plan, again)[0]
    work = work_of(plan, finished)
    shares = estimate(work, known_of(plan, store.folder, finished.values()), jobs=1).shares
    if work:  # without any estimate, too, so that this run's cells are not taken for those of an earlier one
        standing, _ = read_records(store.folder, list(shares))
        with contextlib.suppress(OSError):
            write_whole(store.folder / FILE, begin(store.folder, shares, standing))
