"""Jobs on this machine: whose workers they go to, and in what order."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable
from pathlib import Path

import torch

import normzoo
from normzoo import plugins
from normzoo_bench import tracking
from normzoo_bench.planner import Plan, source_hash
from normzoo_bench.running.jobs import jobs, processes
from normzoo_bench.running.process import Asked, Work
from normzoo_bench.running.reaper import workplace
from normzoo_bench.running.rounds import Options, Round, Take
from normzoo_bench.running.store import data_fingerprint
from normzoo_bench.running.worker import TIMED, Job, Outcome
from normzoo_bench.running.workers import measured
from normzoo_suites import Cell, parse_call


def outcomes(
    plan: Plan, cells: list[Cell], options: Options, take: Take = lambda _: True
) -> Generator[tuple[Cell, Outcome], None, None]:
    """Yield every cell with how it ended, as they end; timed cells last, one at a time, each repeat in a fresh process.

    What ``take`` refuses when its turn comes is left out.
    """
    trained, timed = phases(plan, cells)
    with workplace() as place:
        for own in trained:
            yield from _Round(plan, own, options, take).measured(place)
        for own in timed:
            yield from _Round(plan, own, options, take, timed=True).measured(place)


def phases(plan: Plan, cells: list[Cell]) -> tuple[list[list[Cell]], list[list[Cell]]]:
    """Tell what is trained from what is timed, and in each what has workers of its own.

    Normalizers from outside do, each its own: whatever one does to its process, no other normalizer is measured there.
    So does every repeat of what is timed.
    """
    owners: dict[str, list[Cell]] = {}
    for cell in cells:
        owners.setdefault(owner(cell), []).append(cell)
    trained = [[cell for cell in own if cell.measure not in TIMED] for own in owners.values()]
    timed = [
        together
        for own in owners.values()
        for together in processes([cell for cell in own if cell.measure in TIMED], of=plan.cells)
    ]
    return [own for own in trained if own], timed


def owner(cell: Cell) -> str:
    """Name the normalizer that needs workers of its own; empty for the built-in ones, which share theirs."""
    card = normzoo.card(parse_call(cell.settings.normalizer).name)
    return "" if card.built_in else card.name


def work(plan: Plan, job: Job) -> Work:
    """Give a job as workers take it."""
    source = plan.sources.get(getattr(job[0].settings, "dataset", ""))
    return job, source.where if source else "", source_hash(job[0]), data_fingerprint(plan, job[0])


def files(plan: Plan, cell: Cell) -> tuple[str, ...]:
    """Give the file that a cell's normalizer is from, as it was asked for; none for one that needs no loading."""
    card = normzoo.card(parse_call(cell.settings.normalizer).name)
    file = plugins.file_of(card.factory.__module__)
    return tuple(path for path in plan.request.load if Path(path).expanduser().resolve() == file)


class _Round(Round):
    """Cells that share workers, and the workers that they have here."""

    def __init__(self, plan: Plan, cells: list[Cell], options: Options, take: Take, timed: bool = False) -> None:
        super().__init__((work(plan, job) for job in jobs(cells, options.together)), options.tries, take)
        self.timeout = options.timeout
        self.count = 1 if timed else min(options.jobs or default_jobs(plan.cells or plan.trials), len(self.waiting))
        self.load = files(plan, cells[0])
        self.gpus = visible_gpus() if self.count > 1 and cells[0].settings.device == "cuda" else []

    def measured(self, place: Path) -> Generator[tuple[Cell, Outcome], None, None]:
        """Yield every cell with how it ended."""
        with contextlib.closing(measured(self._setup, self.count, place, self.timeout, self.schedule)) as ended:
            yield from self.outcomes(ended)

    def _setup(self, number: int, folder: Path) -> Asked:
        gpu = self.gpus[number % len(self.gpus)] if self.gpus else None
        return Asked(os.getpid(), folder, self.load, gpu, tracking.spool())


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
