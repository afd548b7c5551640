"""What runs in a worker process: one job after the other, each cell turned into an outcome, whatever happens."""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from normzoo_bench import tracking
from normzoo_bench.result import CannotRun, Diverged, RankFailed, Result
from normzoo_bench.running.log import without_paths
from normzoo_suites import Cell, parse_call
from normzoo_suites.record import Status, as_data
from normzoo_suites.settings import AccuracySettings, TrainingSettings, training_of

TIMED = {
    "throughput": "normzoo_bench.speed.layers",
    "model_throughput": "normzoo_bench.speed.models",
    "memory": "normzoo_bench.speed.memory",
    "sync_cost": "normzoo_bench.speed.sync",
}
"""By measure, the module that has its ``measure(settings)``. Their cells run one at a time, after all trainings."""

INSIGHTS = {
    "statistics_noise": "normzoo_bench.insights.statistics_noise",
    "train_eval": "normzoo_bench.insights.train_eval",
    "gradients": "normzoo_bench.insights.gradients",
    "convergence": "normzoo_bench.insights.convergence",
    "landscape": "normzoo_bench.insights.landscape",
    "covariate_shift": "normzoo_bench.insights.covariate_shift",
}
"""By measure, the module that has its ``measure(settings of the cells that share a training, data)``."""

EXACT = {
    "demonstration": "normzoo_bench.insights.demonstration",
}
"""By measure, the module that has its ``measure(settings)``: neither trained nor timed, beside whatever else runs."""

TRAINING = ("normzoo_bench.accuracy", "normzoo_bench.data", "timm.optim", "timm.scheduler")
"""What a training imports."""

Job = tuple[Cell, ...]
"""Cells that are measured together: they share one training, or train side by side."""

LONGEST = 2000  # characters of an error's text that a record keeps

NO_MEMORY = (
    "DefaultCPUAllocator",  # the CPU's allocator raises a bare RuntimeError
    "Storage size calculation overflowed",
    "CUDA out of memory",  # as the compiler passes it on, inside an error of its own
    "CUDA error: out of memory",  # not from torch's allocator: a library's, or the driver's own needs
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
)
"""By these words an error says that there is no memory left, where its type does not."""


class ChangedError(Exception):
    """What a cell is measured with is not what was planned."""


@dataclass(frozen=True)
class Outcome:
    """How a cell ended."""

    status: Status
    reason: str
    result: Result
    environment: dict[str, Any]
    seconds: float
    log: str = ""


def run_job(job: Job, where: str, source_hash: str, fingerprint: str = "") -> list[Outcome]:
    """Measure the cells of one job; ``where`` is where their data is loaded from.

    ``source_hash`` is their normalizer's as planned, and ``fingerprint`` their data's, where they are to be what they
    were then. Each cell's time is its share of the job's, without what the first job of a worker imports.
    """
    from normzoo_bench.environment import environment

    import_first(job)
    began = time.perf_counter()
    with tracking.begin(job):
        ended = _attempt(job, where, source_hash, fingerprint)
    seconds = (time.perf_counter() - began) / len(job)
    _give_back(ended)
    return [Outcome(*one, environment() | _resolved(cell), seconds) for cell, one in zip(job, ended, strict=True)]


def import_first(job: Job) -> None:
    """Import what a job will, which takes seconds once in a worker and says nothing about its first cell."""
    names = TRAINING if isinstance(job[0].settings, TrainingSettings) else (_alone(job[0].measure),)
    for name in names:
        with contextlib.suppress(Exception):  # the cell itself will tell
            importlib.import_module(name)


def _alone(measure: str) -> str:
    """Name the module that measures a cell which shares no training."""
    return (TIMED | EXACT)[measure]


_Ended = tuple[Status, str, Result]


def _attempt(job: Job, where: str, source_hash: str, fingerprint: str) -> list[_Ended]:
    import torch

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)  # whatever the cell before has left
    try:
        _check_source(job[0], source_hash)
        return _measure(job, where, fingerprint)
    except CannotRun as error:
        ended: _Ended = ("skipped", str(error), Result({}))
    except ChangedError as error:
        ended = ("error", str(error), Result({}))
    except RankFailed as error:
        ended = (error.status, str(error), Result({}))
    except BaseException as error:  # whatever a normalizer does, SystemExit too: the run goes on, the record says it
        if out_of_memory(error):
            ended = ("oom", memory_asked(error), Result({}))
        else:
            ended = ("error", describe(error, _file(job[0])), Result({}))
    return [ended] * len(job)


def _give_back(ended: Sequence[_Ended]) -> None:
    """Give back what ended cells have left, so that the next ones, other workers' of this GPU too, have all there is.

    On a CPU that is done where memory ran out: the error is gone by now, whose traceback held what was there.
    """
    import torch

    on_gpu = torch.cuda.is_initialized()
    if on_gpu or any(status == "oom" for status, _, _ in ended):
        gc.collect()
    if on_gpu:
        with contextlib.suppress(RuntimeError):  # a device that is beyond help tells the next cell so itself
            torch.cuda.empty_cache()


def _resolved(cell: Cell) -> dict[str, Any]:
    """Say what the settings that are ``auto`` have meant here."""
    if not isinstance(cell.settings, TrainingSettings) or cell.settings.precision != "auto":
        return {}
    from normzoo_bench.training.trainer import precision

    return {"precision": precision(cell.settings)}


def _check_source(cell: Cell, planned: str) -> None:
    """Require that this process has loaded the normalizer that was planned, and not a later text of its file."""
    import normzoo

    name = parse_call(cell.settings.normalizer).name
    if normzoo.card(name).source_hash != planned:
        raise ChangedError(f"the file of {name} was changed during the run; the same command measures it again")


def _file(cell: Cell) -> str:
    import normzoo

    name = parse_call(cell.settings.normalizer).name
    return inspect.getfile(normzoo.card(name).factory) if name in normzoo.names() else ""


def _measure(job: Job, where: str, fingerprint: str) -> list[_Ended]:
    # imported here, so that a worker pays only for what its cells need
    settings = job[0].settings
    training = training_of(settings)
    if training is None:
        return [("ok", "", importlib.import_module(_alone(job[0].measure)).measure(settings))]
    from normzoo_bench import accuracy, data

    dataset = data.load_as(training.data, training.dataset, where)
    if fingerprint not in ("", dataset.fingerprint):
        raise ChangedError(f"the data of {training.dataset} is not here what it was when the run was planned")
    together = [cell.settings for cell in job]
    measure: Callable[..., list[accuracy.Ended]] = (
        accuracy.measure_together
        if isinstance(settings, AccuracySettings)
        else importlib.import_module(INSIGHTS[job[0].measure]).measure
    )
    return [_told(one) for one in measure(together, dataset)]


def _told(ended: Result | Diverged | CannotRun) -> _Ended:
    if isinstance(ended, Diverged):
        return "diverged", str(ended), ended.result
    return ("skipped", str(ended), Result({})) if isinstance(ended, CannotRun) else ("ok", "", ended)


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there is no memory left, the device's or the machine's."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in str(error) for words in NO_MEMORY)


def memory_asked(error: BaseException) -> str:
    """Give the line of such an error that says how much memory was asked for; its type's name where it says nothing.

    It need not be the first: the compiler puts lines of its own before an error.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if any(words in line for words in NO_MEMORY)] or lines
    return told[0][:LONGEST] if told else type(error).__name__


def plainly(outcome: Outcome) -> Outcome:
    """Give an outcome of plain data: what a normalizer made would be made anew, by its own code, where it arrives."""
    return replace(outcome, result=replace(outcome.result, options=as_data(outcome.result.options)))


def describe(error: BaseException, file: str = "") -> str:
    """Say what an error is and where it was raised, in one line without a path.

    Where a frame is in ``file``, the normalizer's own, that is the place which its author wants to know.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file] or frames
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    said = without_paths(" ".join(str(error).split()))
    return f"{type(error).__name__}: {said[:LONGEST]}{place}"
