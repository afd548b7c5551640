"""The ranks of one job on this machine, started and watched by torch's elastic launcher."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, PContext
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import normzoo
from normzoo import plugins
from normzoo_bench.data import DataSet
from normzoo_bench.processes.work import ENDED, WORK, Asked, Work, told_file
from normzoo_bench.result import CannotRun, RankFailed
from normzoo_bench.running.process import WANTED
from normzoo_bench.streamed import StreamedSet
from normzoo_bench.training.observe import observer
from normzoo_suites import parse_call

if TYPE_CHECKING:
    from normzoo_bench.accuracy import Ended


def measure(cells: Sequence[Asked], data: DataSet | StreamedSet | None) -> list[Ended]:
    """Train or time by processes of this machine; see ``processes.measure``."""
    card = normzoo.card(parse_call(cells[0].normalizer).name)
    file = plugins.file_of(card.factory.__module__)
    with tempfile.TemporaryDirectory(prefix="normzoo-ranks-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        torch.save(Work(tuple(cells), data, card.source_hash, observer()), folder / WORK)
        load = () if file is None else (str(file),)
        program = ("-m", "normzoo_bench.processes.rank", str(folder), str(os.getpid()), *load)
        run(program, cells[0].ranks, folder)
        ended: list[Ended] = pickle.loads((folder / ENDED).read_bytes())
        return ended


def run(program: Sequence[str], ranks: int, folder: Path) -> None:
    """Run Python with these arguments once per rank, and wait for all.

    The folder is where they meet: no port is opened for that, so that jobs side by side cannot clash, and nothing
    listens to other machines. When one rank fails, the launcher ends the others. A rank is to end when this process or
    the folder's file ``WANTED`` is gone, as ``process.prepare`` has it do.

    Raises:
        CannotRun: when a rank told so.
        RankFailed: when a rank died, or told of anything else.

    """
    (folder / WANTED).touch()
    # the launcher would open a port for all machines to share; there is one machine
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    # what its logger has to say is in what is raised here
    logging.getLogger(PContext.__module__).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=folder.name,
        rdzv_backend="c10d",
        rdzv_endpoint=str(folder / "rendezvous"),
        rdzv_configs={"store_type": "file"},
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
    )
    # not in the main thread, where the launcher would take over this process's handling of signals
    with ThreadPoolExecutor(1) as thread:
        launched = thread.submit(elastic_launch(config, sys.executable), *program)
        try:
            launched.result()
        except ChildFailedError as error:
            raise cause(error.failures, _told(folder, ranks), ranks) from None
        except BaseException:
            (folder / WANTED).unlink(missing_ok=True)  # ends the ranks, for which the thread waits
            raise


def cause(failures: Mapping[int, ProcessFailure], told: Mapping[int, Any], ranks: int) -> CannotRun | RankFailed:
    """Say what ended a job: a rank that died, or the first that told why it could not go on.

    Ranks that lose another one raise as well, and tell; so a death goes before all that was told. Those whom the
    launcher then ended, by SIGTERM, have died of no cause of their own.
    """
    silent = {rank: failure.exitcode for rank, failure in failures.items() if rank not in told}
    died = {rank: code for rank, code in silent.items() if code != -signal.SIGTERM}
    if not died and told:
        first = min(told.values(), key=lambda one: one["when"])
        if first["status"] == "skipped":
            return CannotRun(first["reason"])
        return RankFailed(first["status"], f"rank {first['rank']} of {ranks}: {first['reason']}")
    rank, code = next(iter((died or silent).items()))
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return RankFailed("crashed", f"the process of rank {rank} of {ranks} died ({how})")


def _told(folder: Path, ranks: int) -> dict[int, Any]:
    files = {rank: told_file(folder, rank) for rank in range(ranks)}
    return {rank: json.loads(file.read_text(encoding="utf-8")) for rank, file in files.items() if file.exists()}
