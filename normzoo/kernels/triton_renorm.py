"""Batch Renorm's algebra on (C,) tensors, between the statistics and the normalization, in one launch.

In torch it is about twenty launches of a few microseconds each. The meaning is that of ``BatchRenorm``'s own methods.
"""

# Triton comes without types, and a jitted function's arguments have none that a type checker knows.
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"
# ruff: noqa: N803  # capitals are Triton's custom for compile-time arguments

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from normzoo.kernels.triton_plans import power_of_2
from normzoo.kernels.triton_tiles import FUSED


class Correction(NamedTuple):
    """What normalizes: y = scale·x̂ + shift with x̂ = (x − mean)·invstd. All float32 [C]."""

    invstd: Tensor  # 1/√(var + eps)
    r: Tensor
    d: Tensor
    scale: Tensor  # weight·r
    shift: Tensor  # bias + weight·d


@triton.jit
def lerp(start, end, weight):
    """Go from start to end; at weight 1 exactly end, like torch's."""
    way = end - start
    return tl.where(weight < 0.5, start + weight * way, end - way * (1 - weight))


@triton.jit
def correct_kernel(
    mean,
    var,
    running_mean,
    running_std,
    counter,
    weight,
    bias,
    outputs,
    channels,
    eps,
    momentum,
    r_max,
    d_max,
    warmup_steps,
    RAMP: tl.constexpr,
    CUMULATIVE: tl.constexpr,
    MOVE: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write invstd, r, d, scale and shift [5, C], and move the running statistics and the counter if MOVE.

    One program does it all: others would read the counter while one of them moves it.
    """
    steps = tl.load(counter)
    if RAMP:  # r_max and d_max begin at an eighth of the warm-up; d_max ends at five eighths
        part = tl.div_rn(steps.to(tl.float32), warmup_steps)
        r_max = 1 + (r_max - 1) * tl.clamp((part - 0.125) / 0.875, 0.0, 1.0)
        d_max = d_max * tl.clamp((part - 0.125) / 0.5, 0.0, 1.0)
    r_min = tl.div_rn(1.0, r_max)
    share = momentum
    if CUMULATIVE:
        share = tl.maximum(tl.div_rn(1.0, (steps + 1).to(tl.float32)), momentum)
    for first in range(0, channels, COLUMNS):
        channel = first + tl.arange(0, COLUMNS)
        here = channel < channels
        batch_mean = tl.load(mean + channel, mask=here, other=0.0)
        std = tl.sqrt_rn(tl.load(var + channel, mask=here, other=0.0) + eps)
        old_mean = tl.load(running_mean + channel, mask=here, other=0.0)
        old_std = tl.load(running_std + channel, mask=here, other=1.0)
        gamma = tl.load(weight + channel, mask=here, other=0.0).to(tl.float32)
        beta = tl.load(bias + channel, mask=here, other=0.0).to(tl.float32)
        # NaN stays NaN, as in torch: a diverged run must not look well
        r = tl.clamp(tl.div_rn(std, old_std), r_min, r_max, propagate_nan=tl.PropagateNan.ALL)
        d = tl.clamp(tl.div_rn(batch_mean - old_mean, old_std), -d_max, d_max, propagate_nan=tl.PropagateNan.ALL)
        tl.store(outputs + channel, tl.div_rn(1.0, std), mask=here)
        tl.store(outputs + channels + channel, r, mask=here)
        tl.store(outputs + 2 * channels + channel, d, mask=here)
        tl.store(outputs + 3 * channels + channel, gamma * r, mask=here)
        tl.store(outputs + 4 * channels + channel, beta + gamma * d, mask=here)
        if MOVE:
            tl.store(running_mean + channel, lerp(old_mean, batch_mean, share), mask=here)
            tl.store(running_std + channel, lerp(old_std, std, share), mask=here)
    if MOVE:
        tl.debug_barrier()  # every warp has read the counter before one of them writes it
        tl.store(counter, steps + 1)


def correct(
    mean: Tensor,
    var: Tensor,
    running_mean: Tensor,
    running_std: Tensor,
    counter: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float,
    momentum: float,
    r_max: float,
    d_max: float,
    warmup_steps: int,
    cumulative: bool,
    move: bool,
) -> Correction:
    """Give Batch Renorm's correction from the statistics before this step, and move them if ``move``.

    Shapes: all [C], contiguous; mean, var (biased) and the running statistics float32, weight and bias float32 or
    narrower; counter an int64 [] on the same device, the training steps so far.

    Raises:
        ValueError: when a statistic is not a contiguous float32 tensor.

    """
    tensors = {"mean": mean, "var": var, "running_mean": running_mean, "running_std": running_std}
    for name, value in tensors.items():
        if value.dtype != torch.float32 or not value.is_contiguous():
            raise ValueError(
                f"{name} must be float32 and contiguous, got {value.dtype} with strides {value.stride()}; "
                "other types are computed without Triton"
            )
    channels = mean.shape[0]
    outputs = mean.new_empty(5, channels)
    limits = (float(eps), float(momentum), float(r_max), float(d_max), float(max(warmup_steps, 1)))
    columns = min(2048, power_of_2(channels))  # at most 8 values for each of 256 threads: few registers, one trip
    with torch.cuda.device_of(mean):
        correct_kernel[(1,)](
            *(*tensors.values(), counter, weight, bias, outputs, channels, *limits),
            RAMP=warmup_steps > 0,
            CUMULATIVE=cumulative,
            MOVE=move,
            COLUMNS=columns,
            num_warps=max(1, min(8, columns // 128)),
            **FUSED,
        )
    return Correction(*outputs)
