"""What Ray runs on a node: an errand of jobs, which a worker process of normzoo's own measures there.

So time, memory, crashes and logs are watched as on a machine alone, and Ray's process never runs foreign code.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from normzoo_bench import tracking
from normzoo_bench.environment import code
from normzoo_bench.errors import UsageError
from normzoo_bench.running.process import Asked, Work
from normzoo_bench.running.reaper import workplace
from normzoo_bench.running.rounds import Options, Round
from normzoo_bench.running.worker import Job, Outcome
from normzoo_bench.running.workers import measured

IDLE = 2.0
"""Seconds for which a worker stays warm without an errand. A fresh one takes longer to begin, and so never meets it."""


@dataclass(frozen=True)
class Errand:
    """What a node is sent.

    Attributes:
        work: the jobs, measured one after another.
        owner: the normalizer that has workers of its own; empty where it is the built-in ones.
        files: names and contents of Python files with normalizers.
        options: how long and how often a job is tried.
        spool: where it tells of its trainings' epochs, if that is to be seen from the node.
        fresh: whether the worker has measured nothing before, and measures nothing afterwards.
        code: the hash of the sources that planned it.

    """

    work: tuple[Work, ...]
    owner: str
    files: tuple[tuple[str, bytes], ...]
    options: Options
    spool: tracking.Spool
    fresh: bool
    code: str


def run(errand: Errand) -> Iterator[tuple[str, Outcome]]:
    """Yield every cell's id with how it ended, as they end.

    Raises:
        UsageError: when this node has another normzoo.

    """
    if (here := code()) != errand.code:
        raise UsageError(
            f"a node of the cluster has another normzoo than this run (code {here}, not {errand.code}); install the "
            "same version on every node"
        )
    round_ = Round(errand.work, errand.options.tries)
    with _bench(errand) as bench:
        for cell, outcome in round_.outcomes(bench.measured(round_)):
            yield cell.id, outcome


@dataclass
class _Bench:
    """A worker of normzoo's that waits for the next errand of the same kind."""

    kind: tuple[object, ...]
    errand: Errand
    round: Round | None = None
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        place = self._stack.enter_context(workplace())
        load = tuple(str(_written(place / "load", name, text)) for name, text in self.errand.files)

        def setup(number: int, folder: Path) -> Asked:
            # Ray has chosen the GPUs that this process sees
            return Asked(os.getpid(), folder, load, None, self.errand.spool)

        ended = measured(setup, 1, place, self.errand.options.timeout, self._schedule)
        self._ended = self._stack.enter_context(contextlib.closing(ended))

    def _schedule(self) -> Work | None:
        return self.round.schedule() if self.round else None

    def measured(self, round_: Round) -> Iterator[tuple[Job, list[Outcome] | None]]:
        """Measure a round; not asked for more than there is, the worker stays."""
        self.round = round_
        while round_.waiting:
            yield next(self._ended)

    def close(self) -> None:
        """End the worker."""
        self._stack.close()


def _written(folder: Path, name: str, text: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_bytes(text)
    return file


_lock = threading.Lock()
_idle: tuple[_Bench, threading.Timer] | None = None
"""The one that waits, and what will end its waiting; Ray gives a process one errand at a time."""


@contextlib.contextmanager
def _bench(errand: Errand) -> Iterator[_Bench]:
    """Give the bench that waits where it is of the errand's kind, else a new one."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    kind = (errand.owner, errand.files, errand.options.timeout, errand.spool, gpus)
    bench = _claimed()
    if bench and (errand.fresh or bench.kind != kind):
        bench.close()
        bench = None
    bench = bench or _Bench(kind, errand)
    try:
        yield bench
    except BaseException:  # the errand is cancelled
        bench.close()
        raise
    if errand.fresh:
        bench.close()
    else:
        _leave(bench)


def _claimed() -> _Bench | None:
    global _idle  # a process of Ray's lives on between errands
    with _lock:
        waiting, _idle = _idle, None
    if waiting is None:
        return None
    waiting[1].cancel()
    return waiting[0]


def _leave(bench: _Bench) -> None:
    """Let a bench wait for the next errand, though not for long."""
    global _idle
    timer = threading.Timer(IDLE, _retire)
    timer.daemon = True
    with _lock:
        _idle = bench, timer
    timer.start()


def _retire() -> None:
    if bench := _claimed():
        bench.close()
