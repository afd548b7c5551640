"""Jobs on a Ray cluster: a task each, results as they end, and another try where a node was lost."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normzoo_bench import tracking
from normzoo_bench.environment import code, environment
from normzoo_bench.errors import UsageError
from normzoo_bench.planner import Plan
from normzoo_bench.result import Result
from normzoo_bench.running import cluster, node, shares
from normzoo_bench.running.jobs import jobs
from normzoo_bench.running.pool import files, owner, phases, work
from normzoo_bench.running.rounds import Options, Take
from normzoo_bench.running.worker import Job, Outcome
from normzoo_suites import Cell, SuiteError

if TYPE_CHECKING:
    from types import ModuleType

EXTRA = 2
"""Tasks that wait on the cluster beyond those that it has room for, so that no node is idle between two."""

LOSSES = 5
"""How often a task may be lost with its node until its cells are given up."""

PAUSE = 5.0
"""Seconds until a lost task is tried again, times its losses: a cluster needs a while to know that a node is gone."""

TICK = 1.0
"""Seconds between two looks at which nodes are up."""

PATIENCE = 120.0
"""Seconds to wait for a node that can hold a task, where those that could are lost."""

GRACE = 10.0
"""Seconds that cancelled tasks have to end their workers, until Ray's own processes are ended as well."""

FETCH = 60.0
"""Seconds for a result to come from a node that has told of it."""


class OnRay:
    """Measures on a cluster, which it joins with the first cells and leaves at the end of the block."""

    def __init__(self, options: Options, warn: Callable[[str], None] = lambda _: None) -> None:
        self.options, self.warn = options, warn
        self._stack = contextlib.ExitStack()
        self._ray: ModuleType | None = None

    def __enter__(self) -> OnRay:
        cluster.ray()  # that it is not installed is said before anything else
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def outcomes(self, plan: Plan, cells: list[Cell], take: Take) -> Generator[tuple[Cell, Outcome], None, None]:
        """Yield every cell with how it ended, as they end; timed cells last.

        What is timed on a CPU has a node for itself, each repeat in a fresh process. What ``take`` refuses when its
        turn comes is left out.

        Raises:
            UsageError: when no node can hold a cell, or a node cannot measure what is planned here.

        """
        if self._ray is None:
            self._ray = self._stack.enter_context(cluster.joined(self.options.address))
        ray = self._ray
        shares.check(cells, cluster.nodes(ray), self.options.gpu_share)
        trained, timed = phases(plan, cells)
        each = [[job] for own in trained for job in jobs(own, self.options.together)]
        yield from _Flights(ray, plan, self.options, take, self.warn, fresh=False).outcomes(each)
        yield from _Flights(ray, plan, self.options, take, self.warn, fresh=True).outcomes([jobs(own) for own in timed])


@dataclass(eq=False)
class _Task:
    """Jobs that go to a node together.

    Attributes:
        wanted: what it takes of a node.
        left: by id, the cells that have not ended.
        losses: how often it was lost with its node.
        after: when it may be tried, by the monotonic clock.
        node: the node whose CPUs it has all to itself.

    """

    jobs: list[Job]
    wanted: shares.Share
    left: dict[str, Cell] = field(default_factory=dict)
    losses: int = 0
    after: float = 0.0
    node: str = ""


class _Flights:
    """Tasks that wait here, and those that are on the cluster."""

    def __init__(
        self, ray: ModuleType, plan: Plan, options: Options, take: Take, warn: Callable[[str], None], fresh: bool
    ) -> None:
        self.ray, self.plan, self.options = ray, plan, options
        self.take, self.warn, self.fresh = take, warn, fresh
        self.waiting: dict[shares.Share, deque[_Task]] = {}
        self.flying: dict[Any, _Task] = {}  # by Ray's stream of what it yields
        # never tried again by Ray itself, which would not know what had been yielded
        self._run = ray.remote(max_retries=0, num_returns="streaming")(node.run)
        self._nodes: list[shares.Node] = []
        self._looked = self._held = self._heard = float("-inf")

    def outcomes(self, groups: Sequence[list[Job]]) -> Generator[tuple[Cell, Outcome], None, None]:
        """Yield every cell of these jobs with how it ended, as they end."""
        for group in groups:
            wanted = shares.share((cell for job in group for cell in job), self.options.gpu_share)
            self.waiting.setdefault(wanted, deque()).append(_Task(group, wanted))
        try:
            while self.flying or any(self.waiting.values()):
                self._start()
                if not self.flying:
                    time.sleep(TICK)  # a lost task waits for its time, or for a node
                    continue
                ready, _ = self.ray.wait([*self.flying], num_returns=1, timeout=TICK)
                for stream in ready:
                    yield from self._news(stream)
        finally:
            self._cancel()

    def _start(self) -> None:
        """Send as many tasks as there is room for, and a few more."""
        if time.monotonic() - self._looked > TICK:
            self._look()
            self._check_held()
        for wanted, waiting in self.waiting.items():
            while (place := self._place(wanted)) and (task := _ready(waiting)):
                task.jobs = [job for job in task.jobs if self.take(job)]
                task.left = {cell.id: cell for job in task.jobs for cell in job}
                if task.jobs:
                    self.flying[self._sent(task, place)] = task

    def _look(self) -> None:
        """See which nodes are up, and say which are not any more."""
        self._await_head()
        nodes, before = cluster.nodes(self.ray), self._nodes
        if lost := {node.id for node in before} - {node.id for node in nodes}:
            what = "a node" if len(lost) == 1 else f"{len(lost)} nodes"
            self.warn(f"{what} of the cluster went away, {len(nodes)} left; its cells begin again")
        self._nodes, self._looked = nodes, time.monotonic()

    def _await_head(self) -> None:
        if time.monotonic() - self._heard < cluster.ASK:
            return
        until = time.monotonic() + cluster.GONE
        while not cluster.answers(self.ray):
            if time.monotonic() > until:
                self.flying.clear()  # nobody can be asked to end them: workers end with Ray's processes
                raise UsageError(
                    "the head of the cluster is gone; what was measured is kept, and the same command goes on from "
                    "there when it is up again"
                )
            time.sleep(TICK)
        self._heard = time.monotonic()

    def _check_held(self) -> None:
        """Require that nodes are up which can hold all that is not done; for a while there may be none."""
        left = {task.wanted for task in self.flying.values()} | {one for one, tasks in self.waiting.items() if tasks}
        homeless = [one for one in left if not any(shares.fits(one, node) for node in self._nodes)]
        if not homeless:
            self._held = self._looked
        elif self._looked - self._held > PATIENCE:
            raise UsageError(
                f"the nodes that could hold {homeless[0]} are gone from the cluster; what was measured is kept, and "
                "the same command goes on from there"
            )

    def _place(self, wanted: shares.Share) -> shares.Node | None:
        """Give a node for a task that has one for itself, any for one that Ray may place; None where all are full."""
        if self.options.jobs and len(self.flying) >= self.options.jobs:
            return None
        fitting = [one for one in self._nodes if shares.fits(wanted, one)]
        if wanted.whole:
            used = {task.node for task in self.flying.values()}
            fitting = [one for one in fitting if one.id not in used]
        elif sum(task.wanted == wanted for task in self.flying.values()) >= shares.room(wanted, fitting) + EXTRA:
            return None
        return fitting[0] if fitting else None

    def _sent(self, task: _Task, place: shares.Node) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked: dict[str, Any] = {"num_cpus": task.wanted.cpus, "num_gpus": task.wanted.gpus}
        task.node = ""
        if task.wanted.whole:
            task.node = place.id
            asked["num_cpus"] = place.cpus
            asked["scheduling_strategy"] = NodeAffinitySchedulingStrategy(place.id, soft=False)
        return self._run.options(**asked).remote(self._errand(task.jobs))

    def _errand(self, group: Sequence[Job]) -> node.Errand:
        first = group[0][0]
        texts = tuple((Path(file).name, Path(file).expanduser().read_bytes()) for file in files(self.plan, first))
        works = tuple(work(self.plan, job) for job in group)
        return node.Errand(works, owner(first), texts, self.options, tracking.spool(), self.fresh, code())

    def _news(self, stream: Any) -> Iterator[tuple[Cell, Outcome]]:
        """Yield what a task has told since; take it off where it is over."""
        try:
            cell_id, outcome = self.ray.get(next(stream), timeout=FETCH)
        except StopIteration:
            yield from self._over(stream, None)
        except self.ray.exceptions.RayError as error:
            yield from self._over(stream, error)
        else:
            yield self.flying[stream].left.pop(cell_id), outcome

    def _over(self, stream: Any, error: Exception | None) -> Iterator[tuple[Cell, Outcome]]:
        task = self.flying.pop(stream)
        if error is not None:
            _raise_what_is_no_loss(self.ray, error)
            self._end([stream], force=True)  # where only the way to it is lost
        if not task.left:
            return
        task.losses += 1
        task.jobs = [left for job in task.jobs if (left := tuple(cell for cell in job if cell.id in task.left))]
        task.after = time.monotonic() + PAUSE * task.losses
        if task.losses < LOSSES:
            self.waiting[task.wanted].appendleft(task)
        else:
            yield from ((cell, _lost(self.ray, error)) for cell in task.left.values())

    def _cancel(self) -> None:
        """End what is on the cluster: asked first, so that workers are ended with all that they have started."""
        streams = [*self.flying]
        self.flying.clear()
        self._end(streams, force=False)
        until = time.monotonic() + GRACE
        while streams and time.monotonic() < until:
            ready, _ = self.ray.wait(streams, num_returns=1, timeout=TICK)
            streams = [stream for stream in streams if stream not in ready or not self._is_over(stream)]
        self._end(streams, force=True)

    def _is_over(self, stream: Any) -> bool:
        try:
            self.ray.get(next(stream), timeout=FETCH)
        except (StopIteration, self.ray.exceptions.RayError):
            return True
        return False

    def _end(self, streams: Sequence[Any], force: bool) -> None:
        for stream in streams:
            with contextlib.suppress(self.ray.exceptions.RayError, ValueError, TypeError):  # it is over already
                self.ray.cancel(stream, force=force)


def _ready(waiting: deque[_Task]) -> _Task | None:
    """Take the first task whose time has come."""
    now = time.monotonic()
    task = next((task for task in waiting if task.after <= now), None)
    if task is not None:
        waiting.remove(task)
    return task


def _raise_what_is_no_loss(ray: ModuleType, error: Exception) -> None:
    """Raise what trying elsewhere would not mend: a node without our code, or a fault in it.

    Raises:
        UsageError: when a node cannot measure what is planned here.

    """
    if not isinstance(error, ray.exceptions.RayTaskError):
        return
    cause = getattr(error, "cause", None)
    if isinstance(cause, OSError):
        return  # the node's disk is full, say
    if isinstance(cause, SuiteError):
        raise UsageError(str(cause)) from None
    if "No module named" in str(error):
        last = str(error).strip().splitlines()[-1]
        raise UsageError(
            f"a node of the cluster cannot run normzoo ({last}); install the same version of it on every node"
        ) from None
    raise error


def _lost(ray: ModuleType, error: Exception | None) -> Outcome:
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        reason = f"ended by Ray when its node had no memory left, in each of {LOSSES} tries"
        return Outcome("oom", reason, Result({}), environment(), 0.0)
    reason = f"its node, or Ray's process there, was lost in each of {LOSSES} tries"
    return Outcome("crashed", reason, Result({}), environment(), 0.0)
