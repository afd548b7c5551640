"""What a step says to the other ranks: its collectives, counted, timed and weighed by torch's profiler."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch.profiler import ProfilerActivity, profile, record_function

if TYPE_CHECKING:
    from torch._C._autograd import _KinetoEvent

STEPS = 5
"""How many steps are looked at."""

_MARK = "normzoo: steps"
_KERNELS = "ncclDevKernel", "ncclKernel"  # NCCL's names from 2.19 on, and before
_BYTES = {"double": 8, "float": 4, "c10::Half": 2, "c10::BFloat16": 2, "long int": 8, "long long": 8, "int": 4}
"""Bytes per value, by the names that the profiler has for types."""


@dataclass(frozen=True)
class Collectives:
    """The collectives of one step.

    Attributes:
        count: of them all, whoever asked for them: a layer, or DistributedDataParallel.
        ms: the sum of their durations on this rank. Each lasts from its call until the last rank has answered; some run
            beside the computation, or each other.
        bytes: what this rank has handed to them, or None where the profiler did not tell.

    """

    count: float
    ms: float
    bytes: float | None


def collectives_of(step: Callable[[], object], device: str) -> Collectives:
    """Look at some steps of this rank, while the other ranks take theirs.

    They are to be warm: in its second step DistributedDataParallel sorts its buckets anew, and tells all ranks.
    """
    wait = torch.cuda.synchronize if device == "cuda" else _nothing
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities, record_shapes=True) as seen:
        step()  # the profiler takes a while to begin, and another one on every rank: that is not to be counted
        dist.barrier()
        wait()
        with record_function(_MARK):
            for _ in range(STEPS):
                step()
            wait()
    return counted(seen.profiler.kineto_results.events(), dist.get_backend(), STEPS)


def counted(events: Sequence[_KinetoEvent], backend: str, steps: int) -> Collectives:
    """Read off a profile what its marked steps have said, per step.

    Whichever function asks for a collective, it goes through one operator in ``c10d``: that is what is counted. Its own
    duration is that of asking; how long it took the backend says, gloo by an event, NCCL by its kernels.
    """
    on_cpu = [event for event in events if event.device_type().name == "CPU"]
    begin = min(event.start_ns() for event in on_cpu if event.name() == _MARK)
    own = [event for event in events if event.start_ns() >= begin]
    asked = [event for event in own if event.name().startswith("c10d::")]
    # on a GPU these are there twice, as the profiler shows on the device, too, what has been asked
    told = [event for event in own if event.name().startswith(f"{backend}:") and event.device_type().name == "CPU"]
    took = [event for event in own if event.name().startswith(_KERNELS)] if backend == "nccl" else told
    ms = sum(event.duration_ns() for event in took) / 1e6
    return Collectives(len(asked) / steps, ms / steps, _handed(told, asked, steps))


def _handed(told: Sequence[_KinetoEvent], asked: Sequence[_KinetoEvent], steps: int) -> float | None:
    """Give the bytes per step, or None where some are not told, or of an unknown type."""
    tensors = [pair for event in told for pair in zip(event.shapes(), event.dtypes(), strict=True)]
    if len(told) < len(asked) or any(dtype not in _BYTES for _, dtype in tensors):
        return None
    return sum(math.prod(shape) * _BYTES[dtype] for shape, dtype in tensors) / steps


def _nothing() -> None:
    """Wait for nothing: work on a CPU is done when the call returns."""
