"""Jobs on this machine: whose workers they go to, in what order, and how often they are tried."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import normzoo
from normzoo import plugins
from normzoo_bench import tracking
from normzoo_bench.environment import environment
from normzoo_bench.planner import Plan, source_hash
from normzoo_bench.result import Result
from normzoo_bench.running.jobs import apart, jobs, processes
from normzoo_bench.running.process import Asked, Work
from normzoo_bench.running.reaper import workplace
from normzoo_bench.running.worker import TIMED, Job, Outcome
from normzoo_bench.running.workers import measured
from normzoo_suites import Cell, parse_call

STARTS = 5
"""How many workers may die before they could take a job, until the job is given up."""

FAULTS = frozenset({"oom", "timeout", "crashed", "error"})
"""What may have befallen trainings only because they ran side by side."""

Take = Callable[[Job], bool]
"""Tells whether a job is ours to measure now: another runner may be at it."""


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        jobs: worker processes; None is one per core, or one per GPU.
        timeout: seconds per training.
        retry: statuses of cells to measure again.
        together: how many seeds of one cell train side by side on a GPU.
        tries: how often a cell is tried whose worker dies.
        fail_fast: whether the first cell without a result ends the run.
        track: the trackers that show the curves.

    """

    jobs: int | None = None
    timeout: float = 1800.0
    retry: frozenset[str] = frozenset()
    together: int = 1
    tries: int = 2
    fail_fast: bool = False
    track: tuple[str, ...] = ()


def outcomes(
    plan: Plan, cells: list[Cell], options: Options, take: Take = lambda _: True
) -> Generator[tuple[Cell, Outcome], None, None]:
    """Yield every cell with how it ended, as they end; timed cells last, one at a time, each repeat in a fresh process.

    Normalizers from outside have workers of their own, each its own: whatever one does to its process, no other
    normalizer is measured there. What ``take`` refuses when its turn comes is left out.
    """
    owners: dict[str, list[Cell]] = {}
    for cell in cells:
        owners.setdefault(_owner(cell), []).append(cell)
    with workplace() as place:
        for own in owners.values():
            if trained := [cell for cell in own if cell.measure not in TIMED]:
                yield from _Round(plan, trained, options, take).outcomes(place)
        for own in owners.values():
            for together in processes([cell for cell in own if cell.measure in TIMED], of=plan.cells):
                yield from _Round(plan, together, options, take, timed=True).outcomes(place)


def _owner(cell: Cell) -> str:
    """Name the normalizer that needs workers of its own; empty for the built-in ones, which share theirs."""
    card = normzoo.card(parse_call(cell.settings.normalizer).name)
    return "" if card.built_in else card.name


class _Round:
    """Cells of one owner, and the workers that they have."""

    def __init__(self, plan: Plan, cells: list[Cell], options: Options, take: Take, timed: bool = False) -> None:
        self.plan, self.options, self.take = plan, options, take
        self.waiting = deque(jobs(cells, options.together))
        self.count = 1 if timed else min(options.jobs or default_jobs(plan.cells or plan.trials), len(self.waiting))
        self.tries: dict[Job, int] = {}
        self.starts: dict[Job, int] = {}
        card = normzoo.card(parse_call(cells[0].settings.normalizer).name)
        file = plugins.file_of(card.factory.__module__)
        self.load = tuple(path for path in plan.request.load if Path(path).expanduser().resolve() == file)
        self.gpus = visible_gpus() if self.count > 1 and cells[0].settings.device == "cuda" else []

    def outcomes(self, place: Path) -> Generator[tuple[Cell, Outcome], None, None]:
        """Yield every cell with how it ended."""
        for job, ended in measured(self._setup, self.count, place, self.options.timeout, self._schedule):
            if not self._again(job, ended):
                given = [self._told(job, one) for one in ended or [_never_started()] * len(job)]
                yield from zip(job, given, strict=True)

    def _told(self, job: Job, outcome: Outcome) -> Outcome:
        """Say of a job that was given up how often it was tried."""
        if outcome.status != "crashed" or self.tries.get(job, 0) < 2:
            return outcome
        return replace(outcome, reason=f"{outcome.reason}, in each of {self.tries[job]} tries")

    def _setup(self, number: int, folder: Path) -> Asked:
        gpu = self.gpus[number % len(self.gpus)] if self.gpus else None
        return Asked(os.getpid(), folder, self.load, gpu, tracking.spool())

    def _schedule(self) -> Work | None:
        while self.waiting:
            job = self.waiting.popleft()
            if self.take(job):
                source = self.plan.sources.get(getattr(job[0].settings, "dataset", ""))
                return job, source.where if source else "", source_hash(job[0])
        return None

    def _again(self, job: Job, ended: list[Outcome] | None) -> bool:
        """Tell whether a job is to be tried once more, as it is or its trainings apart; if so, it waits for that."""
        if ended is None:
            self.starts[job] = self.starts.get(job, 0) + 1
            again = [job] if self.starts[job] < STARTS else []
        elif len(apart(job)) > 1 and {one.status for one in ended} & FAULTS:
            again = apart(job)
        elif ended[0].status == "crashed":
            self.tries[job] = self.tries.get(job, 0) + 1
            again = [job] if self.tries[job] < self.options.tries else []
        else:
            again = []
        self.waiting.extend(again)
        return bool(again)


def _never_started() -> Outcome:
    return Outcome("crashed", f"{STARTS} workers died before they could take it", Result({}), environment(), 0.0)


def default_jobs(cells: Iterable[Cell]) -> int:
    """Give how many workers suit these cells: one per core, or per GPU, or one where all cores or GPUs are shared."""
    settings = [cell.settings for cell in cells]
    if any(getattr(one, "ranks_backend", "virtual") == "process" for one in settings):
        return 1
    if any(one.device == "cuda" for one in settings):
        return max(1, len(visible_gpus()))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Name the GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` spells them."""
    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if len(named) >= count else [str(number) for number in range(count)]
