"""A plan as it stands in its run folder: what is done of it, and how long the rest may take."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normzoo_bench.cost.estimate import Estimate, estimate
from normzoo_bench.cost.knowledge import known_of
from normzoo_bench.cost.probe import Probed
from normzoo_bench.cost.work import Work, work_of
from normzoo_bench.planner import Plan
from normzoo_bench.running.pool import default_jobs
from normzoo_bench.running.store import Store
from normzoo_suites import Cell, Record, collecting


@dataclass(frozen=True)
class Planned:
    """A plan as it stands: tuned as far as its trials are known, with the records that count.

    Attributes:
        plan: the plan.
        trials: by id, the records of its trials.
        finished: by id, those of its cells.
        unreadable: names of records that cannot be read.
        estimate: how long the rest may take.

    """

    plan: Plan
    trials: Mapping[str, Record]
    finished: Mapping[str, Record]
    unreadable: tuple[str, ...]
    estimate: Estimate

    def state(self, cell: Cell) -> str:
        """Say how a cell ended, or that it is to do."""
        if cell.same_as:
            return f"same as {cell.same_as}"
        return "skipped" if cell.skip else self.records[cell.id].status if cell.id in self.records else "to do"

    @functools.cached_property
    def records(self) -> dict[str, Record]:
        """All records that count, by id."""
        return {**self.trials, **self.finished}

    def to_json(self, cells: bool) -> dict[str, Any]:
        """Give all of it for machines; with ``cells`` every cell."""
        plan, records = self.plan, self.records
        told: dict[str, Any] = {
            "suite": plan.suite.name,
            "cells": len(plan.cells) + plan.waiting,
            "to_do": sum(cell.id not in records for cell in plan.to_do(plan.part(plan.cells))),
            "done": len(self.finished),
            "same": sum(cell.same_as is not None for cell in plan.cells),
            "skipped": {cell.id: cell.skip for cell in plan.cells if cell.skip},
            "waiting": plan.waiting,
            "trials": {"cells": len(plan.to_do(plan.part(plan.trials))), "done": len(self.trials)},
            "unreadable": list(self.unreadable),
            "estimate": dataclasses.asdict(self.estimate) | {"without": self.estimate.without},
        }
        if cells:
            told["states"] = [cell.to_json() | {"state": self.state(cell)} for cell in (*plan.trials, *plan.cells)]
        return told


@collecting.pause()
def look(
    plan: Plan,
    store: Store,
    jobs: int | None = None,
    also: Iterable[Path] = (),
    probing: Callable[[Plan, Sequence[Work]], Probed] | None = None,
) -> Planned:
    """Hold a plan against its run folder, and estimate what is left.

    Args:
        plan: the plan.
        store: its run folder.
        jobs: worker processes; as many as a run has unless told.
        also: run folders, besides this one and those beside it, whose records tell how long things take.
        probing: measures a little of these tasks, of which no record tells well how long they take.

    """
    known, _ = store.finished(plan, frozenset(), plan.trials)
    plan = plan.tuned(known)
    finished, unreadable = store.finished(plan, frozenset())
    work = work_of(plan, known | finished)
    told = known_of(plan, store.folder, (known | finished).values(), also)
    if probing is not None:
        told.add(probing(plan, [one for one in work if not told.familiar(one.task)]))
    workers = jobs or default_jobs(plan.cells or plan.trials)
    return Planned(plan, known, finished, tuple(unreadable), estimate(work, told, workers))
