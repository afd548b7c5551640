"""The highest memory of a step, above what was there before it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch

MIB = 2**20

_MEMORY = "[memory]"
"""What torch's profiler calls the event of a block that is allocated or freed."""


@dataclass(frozen=True)
class Peak:
    """The highest memory of one step.

    Attributes:
        above: bytes, above what was there before the step.
        conditions: what else the allocator tells, by name.

    """

    above: int
    conditions: dict[str, Any] = field(default_factory=dict)


def peak_of(step: Callable[[], object], device: str) -> Peak:
    """Run a step once and give its peak on a kind of device, ``cpu`` or ``cuda``.

    Raises:
        RuntimeError: when torch's profiler, which tells it of a CPU, has told nothing.

    """
    return _cuda_peak(step) if device == "cuda" else Peak(cpu_peak(step))


def cpu_peak(step: Callable[[], object]) -> int:
    """Give the most bytes that torch's CPU allocator had given out at once during a step, less those before it.

    oneDNN's reordered copies and workspaces come from that allocator, and are counted. Not counted are scratch that a
    kernel or a BLAS allocates by itself, some hundred KiB per thread, and the freeing of what was there before: a step
    that frees such a block counts as if it had kept it.

    Raises:
        RuntimeError: when torch's profiler has told of no allocation.

    """
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    events = [one for one in seen.profiler.kineto_results.events() if one.name() == _MEMORY]
    if not events:
        raise RuntimeError(
            f"torch.profiler of torch {torch.__version__} told of no memory, by which a CPU's peak is read; use a "
            "build of torch with its profiler (Kineto)"
        )
    # each thread's events come by themselves
    return highest(one.nbytes() for one in sorted(events, key=lambda one: one.start_ns()))


def highest(changes: Iterable[int]) -> int:
    """Give the highest sum that changes, added one by one, come to; 0 where they never rise."""
    return max(accumulate(changes, initial=0))


def _cuda_peak(step: Callable[[], object]) -> Peak:
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    told = {
        "allocator": torch.cuda.get_allocator_backend(),
        "allocated_before_mib": before / MIB,
        "reserved_mib": torch.cuda.max_memory_reserved() / MIB,
        "device_mib": torch.cuda.get_device_properties(0).total_memory / MIB,
    }
    return Peak(torch.cuda.max_memory_allocated() - before, told)


def free(device: str) -> None:
    """Give back what nobody needs any more: cycles of objects, and blocks that CUDA's allocator keeps for later."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
