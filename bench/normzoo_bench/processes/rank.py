"""The process of one rank: ``python -m normzoo_bench.processes.rank FOLDER PARENT [PLUGIN]``, started by ``launch``."""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from normzoo_bench.processes.work import ENDED, WORK, Asked, Work, told_file
from normzoo_bench.running.process import prepare
from normzoo_bench.running.worker import describe, memory_asked, out_of_memory
from normzoo_suites.settings import AccuracySettings, SyncCostSettings

if TYPE_CHECKING:  # the process is to end with its parent before it has imported torch, too
    from normzoo_bench.accuracy import Ended, Run
    from normzoo_bench.data import DataSet
    from normzoo_bench.streamed import StreamedSet
    from normzoo_bench.training.trainer import Training

PATIENCE = 2.0
"""Seconds from telling to the end: if another rank's death is the cause, the launcher has seen that by then."""


def main(folder: Path, parent: int, load: tuple[str, ...]) -> None:
    """Do the folder's work as one of its ranks; rank 0 leaves there how the cells ended."""
    prepare(parent, load, folder)
    rank = int(os.environ["RANK"])
    try:
        ended = _work(folder, rank)
        if rank == 0:
            (folder / ENDED).write_bytes(pickle.dumps(ended))
    except BaseException as error:  # whatever a normalizer does, SystemExit too
        tell(folder, rank, error, load[0] if load else "")
        time.sleep(PATIENCE)
        os._exit(1)  # not by way of what communication libraries do at exit, which may wait for the other ranks


def _work(folder: Path, rank: int) -> list[Ended]:
    import torch

    from normzoo_bench.processes.training import join
    from normzoo_bench.training.observe import observed

    work = torch.load(folder / WORK, mmap=True, weights_only=False)
    assert isinstance(work, Work)  # for mypy
    _check_source(work.cells[0], work.source_hash)
    with observed(None if rank else work.observer):
        return measure(work.cells, work.data, lambda: join(folder, work.cells[0].device), rank)


def _check_source(settings: Asked, planned: str) -> None:
    """Require that this process has loaded the text of the normalizer's file that its parent has."""
    import normzoo
    from normzoo_suites import parse_call

    name = parse_call(settings.normalizer).name
    if normzoo.card(name).source_hash != planned:
        raise RuntimeError(f"the file of {name} was changed during the run; run it again")


def measure(
    cells: Sequence[Asked], data: DataSet | StreamedSet | None, join: Callable[[], None], rank: int
) -> list[Ended]:
    """Do as one rank what cells ask for; rank 0 gives how they ended, the others nothing.

    ``join`` makes the process group.
    """
    if data is not None:
        return _train_all([cell for cell in cells if isinstance(cell, AccuracySettings)], data, join, rank)
    from normzoo_bench.speed import sync_rank

    (settings,) = (cell for cell in cells if isinstance(cell, SyncCostSettings))
    timed = sync_rank.measure(settings, join, rank)
    return [] if timed is None else [timed]


def _train_all(
    cells: Sequence[AccuracySettings], data: DataSet | StreamedSet, join: Callable[[], None], rank: int
) -> list[Ended]:
    """Train cells as one rank; rank 0 reads them, when the process group is gone.

    So a layer in rank 0 does not wait for other ranks then. The branch with frozen statistics, too, is left to rank 0:
    its layers know no batch, so one process computes with it what all would.
    """
    from torch import distributed as dist

    from normzoo_bench import accuracy
    from normzoo_bench.processes.training import begin

    join()
    runs = [accuracy.Run(settings, data, begin) for settings in {one.seed: one for one in cells}.values()]
    kept = [_train(run, rank) for run in runs]
    dist.barrier()
    dist.destroy_process_group()
    if rank:
        return []
    for run, branch in zip(runs, kept, strict=True):
        if branch is not None:
            _train_branch(run, branch)
    return accuracy.read(runs, cells)


def _train(run: Run, rank: int) -> Training | None:
    """Train with the other ranks; rank 0 gives a copy of where a branch with frozen statistics begins, if any does."""
    import torch

    from normzoo_bench.accuracy import fork_epoch
    from normzoo_bench.processes.training import RankTraining
    from normzoo_bench.seeds import torch_seed
    from normzoo_bench.training.trainer import eager, train

    assert isinstance(run.training, RankTraining)  # for mypy: `begin` made it
    # ranks draw apart, where a model draws at all: dropout is not to hit the same places on all
    torch.manual_seed(torch_seed(run.settings.seed, f"training of rank {rank}" if rank else "training"))
    fork, epochs = fork_epoch(run.settings), run.settings.epochs
    train([run.training], 0, fork, eager)
    kept = run.training.branch() if fork < epochs and not rank else None
    train([run.training], fork, epochs, eager)
    run.training.gather()
    return kept


def _train_branch(run: Run, kept: Training) -> None:
    from normzoo_bench.accuracy import fork_epoch
    from normzoo_bench.training.trainer import Training, eager, train

    run.fork(kept)
    if isinstance(run.branch, Training):
        train([run.branch], fork_epoch(run.settings), run.settings.epochs, eager)


def tell(folder: Path, rank: int, error: BaseException, source: str = "") -> None:
    """Leave word of why a rank cannot go on, and when it knew: the first of several is the cause.

    ``source`` is the normalizer's own file, as in ``worker.describe``.
    """
    when = time.time()
    status, reason = _status(error, source)
    text = json.dumps({"rank": rank, "when": when, "status": status, "reason": reason})
    file = told_file(folder, rank)
    partial = file.with_suffix(".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def _status(error: BaseException, source: str) -> tuple[str, str]:
    from normzoo import TooFewValuesError
    from normzoo_bench.result import CannotRun

    if isinstance(error, TooFewValuesError | CannotRun):
        return "skipped", str(error)
    if out_of_memory(error):
        return "oom", memory_asked(error)
    return "error", describe(error, source)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), tuple(sys.argv[3:]))
