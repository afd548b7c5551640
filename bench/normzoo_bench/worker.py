"""What runs in a worker process: one cell after the other, each turned into an outcome, whatever happens."""

from __future__ import annotations

import os
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normzoo_bench.result import CannotRun, Diverged, Result
from normzoo_suites import Cell
from normzoo_suites.record import Status
from normzoo_suites.settings import AccuracySettings, ThroughputSettings


@dataclass(frozen=True)
class Outcome:
    """How a cell ended."""

    status: Status
    reason: str
    result: Result
    environment: dict[str, Any]
    seconds: float


def start(parent: int, load: tuple[str, ...]) -> None:
    """Prepare a worker: one thread, the plugins, and an end when the runner has died."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # what a normalizer prints must not tear the progress display apart
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    import torch

    from normzoo import plugins

    torch.set_num_threads(1)
    for path in load:
        plugins.load(path)


def _end_with(parent: int) -> None:
    """End this process, in the middle of a cell too, once the runner is gone; records are the runner's to write."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def run_cell(cell: Cell, where: str) -> Outcome:
    """Measure one cell; ``where`` is where its data is loaded from."""
    from normzoo_bench.environment import environment

    began = time.perf_counter()
    status, reason, result = _attempt(cell, where)
    threads = getattr(cell.settings, "threads", 1)
    return Outcome(status, reason, result, environment() | {"threads": threads}, time.perf_counter() - began)


def _attempt(cell: Cell, where: str) -> tuple[Status, str, Result]:
    import torch

    torch.set_num_threads(1)
    try:
        return "ok", "", _measure(cell, where)
    except Diverged as error:
        return "diverged", str(error), error.result
    except CannotRun as error:
        return "skipped", str(error), Result({})
    except Exception as error:  # whatever a normalizer does, the run goes on and the record says it
        if _out_of_memory(error):
            return "oom", str(error).partition("\n")[0], Result({})
        return "error", describe(error), Result({})


def _measure(cell: Cell, where: str) -> Result:
    # imported here, so that a worker pays only for what its cells need
    if isinstance(cell.settings, AccuracySettings):
        from normzoo_bench import accuracy, data

        return accuracy.measure(cell.settings, data.load(cell.settings.dataset, where))
    if isinstance(cell.settings, ThroughputSettings):
        from normzoo_bench import throughput

        return throughput.measure(cell.settings)
    raise TypeError(f"no measure for {type(cell.settings).__name__}")


def _out_of_memory(error: Exception) -> bool:
    import torch

    # the CPU's allocator raises a bare RuntimeError
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def describe(error: BaseException) -> str:
    """Say what an error is and where it was raised, in one line without a path."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
