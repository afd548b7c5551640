"""The command line under torchrun, for cells whose ranks are on several machines.

``torchrun … -m normzoo_bench.processes run SUITE --set ranks_backend=process …`` runs once per rank. Rank 0 plans,
reads and records; it hands every job to the other ranks, which do nothing but their share of it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from normzoo_bench.errors import UsageError
from normzoo_bench.processes.work import Asked
from normzoo_suites.settings import AccuracySettings

if TYPE_CHECKING:  # the plan and the pool ask this module whether there are machines at all
    from normzoo_bench.accuracy import Ended
    from normzoo_bench.data import DataSet
    from normzoo_bench.planner import Plan
    from normzoo_bench.running.worker import Job, Outcome
    from normzoo_bench.streamed import StreamedSet
    from normzoo_suites import Cell

BETWEEN = timedelta(days=7)  # until the next job: rank 0 reads, plans and records meanwhile
AT_THE_END = timedelta(seconds=60)


@dataclass
class _Ranks:
    """What torchrun has said of this process, the store that all share, and how many jobs were handed out."""

    rank: int
    size: int
    store: Store
    jobs: int = 0
    failed: bool = False


@dataclass(frozen=True)
class _Handed:
    """A job as rank 0 hands it to the others: its cells, where their data is, and files of normalizers."""

    cells: tuple[Asked, ...]
    where: str
    load: tuple[str, ...]


_ranks: _Ranks | None = None


def joined() -> bool:
    """Tell whether this process is one of torchrun's, at work here."""
    return _ranks is not None


def ranks_here() -> int:
    """Give how many of torchrun's processes are on this machine; 0 without torchrun."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if joined() else 0


def check(settings: Asked) -> None:
    """Require of a cell under torchrun that its ranks are the processes that torchrun has started."""
    if _ranks is None:
        return
    backend, has, give = "process", f"ranks = {settings.ranks}", f"--set ranks={_ranks.size}"
    if isinstance(settings, AccuracySettings):
        backend = settings.ranks_backend
        has, give = f'{has}, ranks_backend = "{backend}"', f"{give} --set ranks_backend=process"
    if (backend, settings.ranks) != ("process", _ranks.size):
        raise UsageError(f"torchrun has started {_ranks.size} processes, and a cell has {has}; give {give}")


def main() -> None:
    """Run the command line as rank 0, or follow it as another rank."""
    global _ranks  # one per process, as torchrun's environment is
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        sys.exit("normzoo_bench.processes is run by torchrun: torchrun --nproc-per-node 4 -m normzoo_bench.processes …")
    store, rank, size = next(iter(rendezvous("env://")))
    store.set_timeout(BETWEEN)
    _ranks = _Ranks(rank, size, store)
    if rank:
        _follow(_ranks)
    else:
        _lead(_ranks)


def outcomes(plan: Plan, cells: list[Cell]) -> Generator[tuple[Cell, Outcome], None, None]:
    """Measure cells one after another, here and on the other ranks.

    A fault of this rank ends the run when its record is written: the others may be left in the middle of a step.
    """
    from normzoo_bench.planner import source_hash
    from normzoo_bench.running.jobs import jobs
    from normzoo_bench.running.rounds import FAULTS
    from normzoo_bench.running.worker import run_job

    assert _ranks is not None  # for mypy: the pool has asked
    for job in jobs(cells):
        where = _hand_out(_ranks, plan, job)
        ended = run_job(job, where, source_hash(job[0]))
        yield from zip(job, ended, strict=True)
        if {one.status for one in ended} & FAULTS:
            _ranks.failed = True
            sys.exit(1)


def measure(cells: Sequence[Asked], data: DataSet | StreamedSet | None) -> list[Ended]:
    """Train or time as this rank; see ``processes.measure``."""
    from normzoo_bench.processes.rank import measure as measure_as_rank
    from normzoo_bench.processes.training import SILENCE, backend, own_device

    ranks = _ranks
    assert ranks is not None  # for mypy: whoever calls has asked

    def join() -> None:
        dist.init_process_group(
            backend(cells[0].device),
            store=PrefixStore(f"ranks of job {ranks.jobs}", ranks.store),
            rank=ranks.rank,
            world_size=ranks.size,
            timeout=SILENCE,
            device_id=own_device(cells[0].device),
        )

    return measure_as_rank(cells, data, join, ranks.rank)


def _lead(ranks: _Ranks) -> None:
    from normzoo_bench.cli import main as command_line

    try:
        command_line()
    finally:
        if not ranks.failed:
            _say(ranks, _key(ranks.jobs + 1), None)
            # the store may be this process's own: it stays until all have read that this is the end
            with contextlib.suppress(dist.DistError, RuntimeError):
                ranks.store.wait([f"rank {rank} has left" for rank in range(1, ranks.size)], AT_THE_END)


def _hand_out(ranks: _Ranks, plan: Plan, job: Job) -> str:
    """Hand a job to the other ranks, if they are to take part; give where its data is."""
    settings = [cell.settings for cell in job if isinstance(cell.settings, Asked)]
    if not settings:
        return ""
    first = settings[0]
    where = plan.sources[first.dataset].where if isinstance(first, AccuracySettings) else ""
    ranks.jobs += 1
    _say(ranks, _key(ranks.jobs), _Handed(tuple(settings), where, plan.request.load))
    return where


def _follow(ranks: _Ranks) -> None:
    import torch

    from normzoo import TooFewValuesError, plugins
    from normzoo_bench import data
    from normzoo_bench.result import CannotRun

    torch.set_num_threads(1)
    for ranks.jobs in itertools.count(1):
        handed = pickle.loads(ranks.store.get(_key(ranks.jobs)))
        if not isinstance(handed, _Handed):
            break
        for path in handed.load:
            plugins.load(path)
        first = handed.cells[0]
        own = data.load_as(first.data, first.dataset, handed.where) if isinstance(first, AccuracySettings) else None
        with contextlib.suppress(CannotRun, TooFewValuesError):  # raised by all ranks alike; rank 0 records it
            measure(handed.cells, own)
    _say(ranks, f"rank {ranks.rank} has left", None)


def _say(ranks: _Ranks, key: str, what: _Handed | None) -> None:
    ranks.store.set(key, pickle.dumps(what))  # type: ignore[arg-type]  # its stub forgets that bytes can be stored


def _key(job: int) -> str:
    return f"job {job}"
