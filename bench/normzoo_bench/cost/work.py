"""What of a plan is to be done, task by task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from normzoo_bench.cost.afterwards import draft_id
from normzoo_bench.cost.tasks import Task, Tasks, reading
from normzoo_bench.planner import Plan
from normzoo_bench.running.jobs import jobs
from normzoo_bench.running.worker import TIMED
from normzoo_suites import Cell


@dataclass(frozen=True)
class Work:
    """A task that is to be done, with the cells that it measures; ``trial`` where it tunes others."""

    task: Task
    cells: tuple[Cell, ...]
    trial: bool = False

    @property
    def timed(self) -> bool:
        """Whether it is measured alone, after all trainings."""
        return self.task.measure in TIMED


def work_of(plan: Plan, finished: Iterable[str]) -> list[Work]:
    """Give what of a plan, or of its shard, is to be done, cells that wait for their tuning among it.

    ``finished`` are the ids of those that are done.
    """
    done, tasks = set(finished), Tasks(plan.sources)

    def made(cells: Sequence[Cell], trial: bool) -> list[Work]:
        groups = jobs(cell for cell in cells if not done or cell.id not in done)
        found = (
            (tasks.task(own[0].measure, own[0].settings, frozenset(reading(cell.settings) for cell in own)), own)
            for own in groups
        )
        return [Work(task, own, trial) for task, own in found if task is not None]

    trials, cells = plan.part(plan.trials), plan.part([*plan.cells, *_waiting(plan)])
    return [*made(plan.to_do(trials), True), *made(plan.to_do(cells), False)]


def _waiting(plan: Plan) -> list[Cell]:
    """Give the cells that wait for their tuning, as they are until then."""
    if not plan.waiting:
        return []
    known = {draft_id(plan.suite, cell) for cell in plan.cells}
    return [cell for cell in plan.to_do(plan.drafts) if cell.id not in known]
