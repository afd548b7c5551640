"""Worker processes: warm, ended at their timeout by the operating system, and how each job that they had ended."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from normzoo_bench.environment import environment
from normzoo_bench.result import Result
from normzoo_bench.running import memory, reaper
from normzoo_bench.running.jobs import apart
from normzoo_bench.running.log import Log
from normzoo_bench.running.process import LOG, Asked, Work, serve
from normzoo_bench.running.worker import Job, Outcome, describe
from normzoo_suites.record import Status

TICK = 0.25
"""Seconds between two looks at what no process tells by itself: time, memory, the length of logs."""

START = 120.0
"""Seconds that a worker may take to come up, and to import what its job needs, where a job may not take longer."""


class WorkerLostError(Exception):
    """A worker died before it could take a job: that says nothing about the job."""


class Worker:
    """One process, the job that it has, and the end of it."""

    def __init__(self, asked: Asked) -> None:
        context = multiprocessing.get_context("spawn")
        asked.folder.mkdir(parents=True)
        self.folder, self.log = asked.folder, Log(asked.folder / LOG)
        self.pipe: Connection[Work, list[Outcome] | None]
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, asked))
        with _main_unseen():
            self.process.start()
        theirs.close()
        reaper.register(self.folder, self.process.pid or 0)
        self.job: Job = ()
        self.ready = self.at_work = False
        self.began = time.monotonic()
        self._work: Work | None = None

    def take(self, work: Work) -> None:
        """Hand over a job; a worker that is still starting has it as soon as it is up."""
        self.job, self._work, self.began = work[0], work, time.monotonic()
        self.at_work = False
        if self.ready:
            self._send()

    def _send(self) -> None:
        assert self._work is not None  # for mypy
        self.log.clear()
        self.began = time.monotonic()
        try:
            self.pipe.send(self._work)
        except OSError:
            self.ready = False  # it has died meanwhile, without any job: `answer` will find so

    def answer(self) -> list[Outcome] | None:
        """Give how its job ended, if it has; its death included.

        Raises:
            WorkerLostError: when it died before it could take the job.

        """
        alive = self.process.exitcode is None  # asked first: what it told before its end counts
        try:
            if self.pipe.poll():
                told = self.pipe.recv()
                if told is None:
                    self._next()
                return told
            if alive:
                return None
        except (EOFError, OSError):
            pass  # the other end is closed
        except Exception as error:  # what came back could not be read
            return self._all("error", describe(error))
        return self._death()

    def _next(self) -> None:
        """It is up, and can have its job; or it has imported what that needs, and measures."""
        if self.ready:
            self.at_work, self.began = True, time.monotonic()
        else:
            self.ready = True
            self._send()

    def _death(self) -> list[Outcome]:
        patience = time.monotonic() + 1
        # not `join`, which waits for ever where the process lives on and has closed what it was given
        while (code := self.process.exitcode) is None and time.monotonic() < patience:
            time.sleep(0.01)
        self.end()
        if not self.ready:
            raise WorkerLostError
        how = "hung up" if code is None else f"died ({f'signal {-code}' if code < 0 else f'exit code {code}'})"
        return self._all("crashed", f"its worker {how}")

    def overdue(self, timeout: float) -> list[Outcome] | None:
        """End it where its job has had its time, which is that of each training in it; give how the job ended then."""
        seconds = timeout * len(apart(self.job))
        if not self.at_work:
            seconds = max(seconds, START)
        if time.monotonic() - self.began <= seconds:
            return None
        if self.ready and self.process.pid:
            os.kill(self.process.pid, signal.SIGUSR1)  # leaves in the log where it is
            time.sleep(0.1)
        self.end()
        return self._all(
            "timeout", f"killed after {seconds:g} s{'' if self.at_work else ', before it had begun'}", seconds
        )

    def out_of_memory(self) -> list[Outcome]:
        """End it because no memory is left; give how its job ended."""
        gib = memory.held(self.process.pid or 0) / 2**30
        self.end()
        return self._all("oom", f"killed when this machine had no memory left; its worker held {gib:.1f} GiB")

    def _all(self, status: Status, reason: str, seconds: float = 0.0) -> list[Outcome]:
        seconds = seconds or time.monotonic() - self.began
        ended = Outcome(status, reason, Result({}), environment(), seconds / len(self.job))
        return [ended] * len(self.job)

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return not self.pipe.closed and self.process.exitcode is None

    def let_go(self) -> Job:
        """Give its job back; it is free for the next."""
        job, self.job = self.job, ()
        return job

    def end(self) -> None:
        """Kill it with all that it has started."""
        reaper.end(self.folder)
        self.process.kill()  # where it has no group of its own yet
        self.process.join(5)
        self.pipe.close()


def measured(
    setup: Callable[[int, Path], Asked], count: int, place: Path, timeout: float, schedule: Callable[[], Work | None]
) -> Generator[tuple[Job, list[Outcome] | None], None, None]:
    """Yield every job with how it ended, as they end; None where its worker died before it could take it.

    Args:
        setup: gives what the worker of this number, whose folder that is, is started with.
        count: how many workers there are at most; they stay warm from job to job.
        place: the run's workplace.
        timeout: seconds per training of a job, by a clock that nobody sets, and that stands while the machine sleeps.
        schedule: gives the next job whenever a worker is free; None where there is none now.

    """
    crew: dict[int, Worker] = {}
    try:
        while True:
            _occupy(crew, setup, count, place, schedule)
            busy = [worker for worker in crew.values() if worker.job]
            if not busy:
                return
            wait([worker.pipe for worker in busy], TICK)
            hungry = memory.culprit([worker.process.pid or 0 for worker in busy])
            for worker in busy:
                try:
                    ended = worker.answer()
                    if ended is None and worker.process.pid == hungry:
                        ended = worker.out_of_memory()
                    ended = ended or worker.overdue(timeout)
                except WorkerLostError:
                    yield worker.let_go(), None
                else:
                    worker.log.trim()
                    if ended is not None:
                        log = worker.log.tail()
                        yield worker.let_go(), [dataclasses.replace(one, log=log) for one in ended]
    finally:
        for worker in crew.values():
            worker.end()


def _occupy(
    crew: dict[int, Worker],
    setup: Callable[[int, Path], Asked],
    count: int,
    place: Path,
    schedule: Callable[[], Work | None],
) -> None:
    """Give every free worker a job; start those that are missing."""
    for number in range(count):
        if number in crew and crew[number].job:
            continue
        work = schedule()
        if work is None:
            return
        if number in crew and not crew[number].alive:
            crew.pop(number).end()
        if number not in crew:
            crew[number] = Worker(setup(number, place / f"worker-{number}-{time.monotonic_ns()}"))
        crew[number].take(work)


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
