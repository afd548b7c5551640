"""Group norm where a sample's memory is [S, C]: channels_last, or N × C. Layer norm over C and space is one group.

Forward moves 2 tensors' bytes and backward 3 as long as a program's chunk (all rows of a few whole groups of one
sample) stays in cache between its two readings. Where programs would be too few to fill the chip, a sample's rows are
split over several and read in two launches. Sums are those of partial sums, without atomics: the same every time.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from normzoo.kernels.triton_group_backward import differentiate, sums_of_parts
from normzoo.kernels.triton_group_forward import moments_of_parts, normalize
from normzoo.kernels.triton_plans import GroupPlan, group_plan, power_of_2
from normzoo.kernels.triton_tiles import FUSED, LayoutError, check_type


def forward(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize x [N, C, *space], in memory [N, S, C], by mean and biased variance of each sample's groups of channels.

    Shapes: weight and bias [C]; gives y like x, and mean and rstd = 1/√(var + eps), float32 [N, groups].

    Raises:
        LayoutError: for another memory layout, or a type other than float32, bfloat16 and float16.

    """
    _check("x", x)
    plan, space = _plan(x, groups, 1), math.prod(x.shape[2:])
    y, rows = torch.empty_like(x), (space, plan.part_rows)
    mean, rstd = x.new_empty((2, x.shape[0], groups), dtype=torch.float32)
    means, squares = x.new_empty((2, x.shape[0] * plan.parts * (plan.parts > 1), groups), dtype=torch.float32)
    grid, options = _launch(x, groups, plan)
    with torch.cuda.device_of(x):
        if plan.parts > 1:
            moments_of_parts[grid](x, means, squares, *rows, **options)
        up = power_of_2(plan.parts)
        normalize[grid](x, y, weight, bias, mean, rstd, means, squares, *rows, float(eps), PARTS_UP=up, **options)
    return y, mean, rstd


def backward(
    gradient: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, groups: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of x (its dtype and layout), weight and bias (float32 [C]) from the one of y.

    Shapes: gradient [N, C, *space] in x's memory layout; mean and rstd as ``forward`` gave them.

    Raises:
        LayoutError: for a gradient or x in another memory layout, or of a type that ``forward`` refuses.

    """
    _check("x", x)
    _check("the gradient", gradient)
    plan, rows = _plan(x, groups, 2), math.prod(x.shape[2:])
    of_x = torch.empty_like(x)
    of_channels = x.new_empty((2, x.shape[0] * plan.parts, x.shape[1]), dtype=torch.float32)
    of_groups = x.new_empty((2, x.shape[0] * plan.parts * (plan.parts > 1), groups), dtype=torch.float32)
    tensors = (of_channels, of_groups, rows, plan.part_rows)
    grid, options = _launch(x, groups, plan)
    with torch.cuda.device_of(x):
        if plan.parts > 1:
            sums_of_parts[grid](gradient, x, mean, rstd, weight, *tensors, **options)
        up = power_of_2(plan.parts)
        differentiate[grid](gradient, x, mean, rstd, weight, of_x, *tensors, PARTS_UP=up, **options)
    of_bias, of_weight = of_channels.sum(1)
    return of_x, of_weight, of_bias


def _plan(x: Tensor, groups: int, tensors: int) -> GroupPlan:
    return group_plan(x.shape[0], math.prod(x.shape[2:]), x.shape[1], groups, x.element_size(), tensors)


def _launch(x: Tensor, groups: int, plan: GroupPlan) -> tuple[tuple[int], dict[str, Any]]:
    """Give the grid, in one dimension since the others end at 65,535, and the options that all kernels take."""
    channels = x.shape[1]
    grid = (x.shape[0] * plan.parts * -(-channels // plan.width),)
    options = {
        "CHANNELS": channels,
        "SIZE": channels // groups,
        "WIDTH": plan.width,
        "PARTS": plan.parts,
        "ROWS": plan.tile_rows,
        "COLUMNS": plan.columns,
        "MEMBERS": plan.members,
        "num_warps": plan.warps,
    }
    return grid, options | FUSED


def _check(name: str, x: Tensor) -> None:
    check_type(name, x)
    if not x.movedim(1, -1).is_contiguous():
        raise LayoutError(
            f"{name} must lie in memory as [N, S, C] (channels_last), got shape {tuple(x.shape)} with strides "
            f"{x.stride()}; bring it to that layout first"
        )
