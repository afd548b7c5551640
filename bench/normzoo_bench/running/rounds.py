"""A round of jobs: what is asked of it, which job is next, and how often each is tried."""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace

from normzoo_bench.environment import environment
from normzoo_bench.result import Result
from normzoo_bench.running.jobs import apart
from normzoo_bench.running.process import Work
from normzoo_bench.running.worker import Job, Outcome
from normzoo_suites import Cell

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
        executor: ``local`` for workers of this machine, ``ray`` for those of a Ray cluster.
        address: of the cluster; None for one that is this machine alone.
        gpu_share: how much of a GPU a training takes on a cluster.

    """

    jobs: int | None = None
    timeout: float = 1800.0
    retry: frozenset[str] = frozenset()
    together: int = 1
    tries: int = 2
    fail_fast: bool = False
    track: tuple[str, ...] = ()
    executor: str = "local"
    address: str | None = None
    gpu_share: float = 1.0


def how(options: Options) -> str:
    """Spell those options that a run is to go on with, as the command line takes them; no path is among them."""
    plain = Options()
    words: list[str] = []
    for name in ("executor", "address", "gpu_share", "jobs", "together", "tries"):
        if (value := getattr(options, name)) != getattr(plain, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    words += ["--timeout", f"{options.timeout:g}s"] if options.timeout != plain.timeout else []
    words += ["--track", ",".join(options.track)] if options.track else []
    return shlex.join(words + ["--fail-fast"] * options.fail_fast)


class Round:
    """Jobs that wait for workers, or have one, until each has ended for good."""

    def __init__(self, work: Iterable[Work], tries: int, take: Take = lambda _: True) -> None:
        self.tries, self.take = tries, take
        self.waiting: deque[Job] = deque()
        self._about: dict[Cell, Work] = {}
        for one in work:
            self.waiting.append(one[0])
            self._about |= dict.fromkeys(one[0], one)
        self._tried: dict[Job, int] = {}
        self._started: dict[Job, int] = {}

    def schedule(self) -> Work | None:
        """Give the next job that is ours, for a worker that is free."""
        while self.waiting:
            job = self.waiting.popleft()
            if self.take(job):
                return (job, *self._about[job[0]][1:])
        return None

    def outcomes(
        self, measured: Iterable[tuple[Job, list[Outcome] | None]]
    ) -> Generator[tuple[Cell, Outcome], None, None]:
        """Yield every cell with how it ended, given how jobs ended whom ``schedule`` gave to workers."""
        for job, ended in measured:
            if not self._again(job, ended):
                given = [self._told(job, one) for one in ended or [_never_started()] * len(job)]
                yield from zip(job, given, strict=True)

    def _told(self, job: Job, outcome: Outcome) -> Outcome:
        """Say of a job that was given up how often it was tried."""
        if outcome.status != "crashed" or self._tried.get(job, 0) < 2:
            return outcome
        return replace(outcome, reason=f"{outcome.reason}, in each of {self._tried[job]} tries")

    def _again(self, job: Job, ended: list[Outcome] | None) -> bool:
        """Tell whether a job is to be tried once more, as it is or its trainings apart; if so, it waits for that."""
        if ended is None:
            self._started[job] = self._started.get(job, 0) + 1
            again = [job] if self._started[job] < STARTS else []
        elif len(apart(job)) > 1 and {one.status for one in ended} & FAULTS:
            again = apart(job)
        elif ended[0].status == "crashed":
            self._tried[job] = self._tried.get(job, 0) + 1
            again = [job] if self._tried[job] < self.tries else []
        else:
            again = []
        self.waiting.extend(again)
        return bool(again)


def _never_started() -> Outcome:
    return Outcome("crashed", f"{STARTS} workers died before they could take it", Result({}), environment(), 0.0)
