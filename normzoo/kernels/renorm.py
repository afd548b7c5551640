"""Batch Renorm's algebra on [C], between the statistics of a batch and its normalization."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from normzoo.kernels.choose import is_transformed, on_cuda_with_triton
from normzoo.kernels.gradients import Correction
from normzoo.kernels.normalize import Moments
from normzoo.kernels.recompute import Corrections, is_recomputing, settle, unseen


class Schedule(NamedTuple):
    """How far the correction may go, and how fast the moving statistics follow."""

    momentum: float
    r_max: float
    d_max: float
    warmup_steps: int
    cumulative: bool


class Running(NamedTuple):
    """The moving statistics: mean and standard deviation [C], and the number of steps so far []."""

    mean: Tensor
    std: Tensor
    steps: Tensor


def correct(
    mean: Tensor,
    var: Tensor,
    eps: float,
    running: Running,
    weight: Tensor,
    bias: Tensor,
    schedule: Schedule,
    corrections: Corrections,
) -> tuple[Moments, Correction]:
    """Give this step's r and d, from the moving statistics as they were before it, and move those in place.

    In a checkpoint's recomputation nothing moves, and r and d are those that its forward left in ``corrections``.
    mean and biased variance [C] are the batch's, weight and bias [C] the layer's. To be called without gradients.
    """
    if is_recomputing():
        std = torch.sqrt(var + eps)
        with unseen():
            return Moments(mean, var, std.reciprocal()), _applied(*corrections.find(mean, std), weight, bias)
    if _one_launch(mean, running, weight):
        from normzoo.kernels import triton_renorm  # only where there is a GPU

        found = triton_renorm.correct(mean, var, *running, weight, bias, eps=eps, **schedule._asdict(), move=True)
        corrections.keep(mean, torch.reciprocal(found.invstd), found.r, found.d)
        return Moments(mean, var, found.invstd), Correction(found.r, found.d, found.scale, found.shift)
    std = torch.sqrt(var + eps)
    r_max, d_max = _limits(running.steps, mean.dtype, schedule)
    r = torch.clamp(std / running.std, 1 / r_max, r_max)
    d = torch.clamp((mean - running.mean) / running.std, -d_max, d_max)
    if torch.compiler.is_compiling():
        r, d, moves = settle(mean, std, r, d, corrections.key)
        _move(mean, std, running, schedule, moves)
    else:
        corrections.keep(mean, std, r, d)
        _move(mean, std, running, schedule)
    return Moments(mean, var, std.reciprocal()), _applied(r, d, weight, bias)


def _applied(r: Tensor, d: Tensor, weight: Tensor, bias: Tensor) -> Correction:
    """Give what r and d make of weight and bias, all [C]."""
    return Correction(r, d, weight * r, torch.addcmul(bias, weight, d))


def _limits(steps: Tensor, dtype: torch.dtype, schedule: Schedule) -> tuple[Any, Any]:
    """Give r_max and d_max of this step; while they ramp as tensors, since numbers would freeze in a captured graph."""
    if not schedule.warmup_steps:
        return schedule.r_max, schedule.d_max
    part = steps.to(dtype) / schedule.warmup_steps
    r_part, d_part = torch.clamp((part - 0.125) / 0.875, 0, 1), torch.clamp((part - 0.125) / 0.5, 0, 1)
    return 1 + (schedule.r_max - 1) * r_part, schedule.d_max * d_part


def _move(mean: Tensor, std: Tensor, running: Running, schedule: Schedule, moves: Tensor | int = 1) -> None:
    """Move the statistics towards those of a batch; not at all if ``moves`` is 0."""
    running.steps.add_(moves if isinstance(moves, int) else moves.long())
    weight: Tensor | float = schedule.momentum
    if schedule.cumulative:
        weight = torch.clamp(1 / running.steps.to(mean.dtype), min=schedule.momentum)
    running.mean.lerp_(mean, weight * moves)
    running.std.lerp_(std, weight * moves)


def _one_launch(mean: Tensor, running: Running, weight: Tensor) -> bool:
    """Tell whether the algebra, some twenty tiny kernels in torch, can be one."""
    narrow = any(tensor.dtype != torch.float32 for tensor in (running.mean, running.std, weight))
    return not narrow and on_cuda_with_triton(mean) and not is_transformed()
