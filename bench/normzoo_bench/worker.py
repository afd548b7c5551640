"""What runs in a worker process: one cell after the other, each turned into an outcome, whatever happens."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normzoo_bench.result import CannotRun, Diverged, Result
from normzoo_suites import Cell, parse_call
from normzoo_suites.record import Status
from normzoo_suites.settings import AccuracySettings, ThroughputSettings

LONGEST = 2000  # characters of an error's text that a record keeps


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
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    import torch

    from normzoo import plugins

    torch.set_num_threads(1)
    for path in load:
        # what fails to load is told by the cells that want it: a worker that dies here would tell nothing
        with contextlib.suppress(plugins.PluginError):
            plugins.load(path)


def _end_with(parent: int) -> None:
    """End this process, in the middle of a cell too, once the runner is gone; records are the runner's to write."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def run_cell(cell: Cell, where: str, source_hash: str) -> Outcome:
    """Measure one cell; ``where`` is where its data is loaded from, ``source_hash`` its normalizer's as planned."""
    from normzoo_bench.environment import environment

    began = time.perf_counter()
    status, reason, result = _attempt(cell, where, source_hash)
    return Outcome(status, reason, result, environment(), time.perf_counter() - began)


def _attempt(cell: Cell, where: str, source_hash: str) -> tuple[Status, str, Result]:
    import torch

    torch.set_num_threads(1)
    try:
        _check_source(cell, source_hash)
        return "ok", "", _measure(cell, where)
    except Diverged as error:
        return "diverged", str(error), error.result
    except CannotRun as error:
        return "skipped", str(error), Result({})
    except BaseException as error:  # whatever a normalizer does, SystemExit too: the run goes on, the record says it
        if _out_of_memory(error):
            return "oom", str(error).partition("\n")[0], Result({})
        return "error", describe(error, _file(cell)), Result({})


def _check_source(cell: Cell, planned: str) -> None:
    """Require that this process has loaded the normalizer that was planned, and not a later text of its file."""
    import normzoo

    name = parse_call(cell.settings.normalizer).name
    if normzoo.card(name).source_hash != planned:
        raise RuntimeError(f"the file of {name} was changed during the run; run it again")


def _file(cell: Cell) -> str:
    import normzoo

    name = parse_call(cell.settings.normalizer).name
    return inspect.getfile(normzoo.card(name).factory) if name in normzoo.names() else ""


def _measure(cell: Cell, where: str) -> Result:
    # imported here, so that a worker pays only for what its cells need
    if isinstance(cell.settings, AccuracySettings):
        from normzoo_bench import accuracy, data

        return accuracy.measure(cell.settings, data.load(cell.settings.dataset, where))
    if isinstance(cell.settings, ThroughputSettings):
        from normzoo_bench import throughput

        return throughput.measure(cell.settings)
    raise TypeError(f"no measure for {type(cell.settings).__name__}")


def _out_of_memory(error: BaseException) -> bool:
    import torch

    # the CPU's allocator raises a bare RuntimeError
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in ("DefaultCPUAllocator", "Storage size calculation overflowed")
    )


def describe(error: BaseException, file: str = "") -> str:
    """Say what an error is and where it was raised, in one line without a path.

    Where a frame is in ``file``, the normalizer's own, that is the place which its author wants to know.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file] or frames
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    said = re.sub(r"(?<![\w.])(~|[A-Za-z]:)?([/\\][^\s'\":,/\\]+)+[/\\]", "…/", " ".join(str(error).split()))
    return f"{type(error).__name__}: {said[:LONGEST]}{place}"
