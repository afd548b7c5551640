"""What the normalizers share: checks of the input, its dtype and layout given back, statistics of groups."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TooFewValuesError(ValueError):
    """One value per statistic: its variance says nothing, so the layer refuses it."""


def check_channels(x: Tensor, num_features: int) -> None:
    """Require [N, C, *space] with C = ``num_features`` and 0 to 3 space axes.

    Raises:
        ValueError: when the input has another shape.

    """
    if not 2 <= x.dim() <= 5 or x.shape[1] != num_features:
        raise ValueError(
            f"expected [N, C, *space] with C = {num_features} and 0 to 3 space axes, got shape {tuple(x.shape)}"
        )


def check_batch_values(x: Tensor) -> None:
    """Require at least 2 values per channel over batch and space.

    Raises:
        TooFewValuesError: when there are fewer.

    """
    if x.shape[0] * math.prod(x.shape[2:]) < 2:
        raise TooFewValuesError(
            f"a batch statistic needs 2 values per channel, got input of shape {tuple(x.shape)}; "
            "use a larger batch, or a normalizer that does not pool over the batch"
        )


def check_sample_values(x: Tensor, channels: int) -> None:
    """Require at least 2 values per sample over ``channels`` channels and space.

    Raises:
        TooFewValuesError: when there are fewer.

    """
    if channels * math.prod(x.shape[2:]) < 2:
        raise TooFewValuesError(
            f"a statistic over {channels} channel(s) and space needs 2 values per sample, got input of shape "
            f"{tuple(x.shape)}; use more channels per statistic, or a normalizer that pools over the batch"
        )


def like_input(y: Tensor, x: Tensor) -> Tensor:
    """Give ``y`` the dtype and memory layout of ``x`` (of the same shape); nothing is copied where it has both.

    The dtype differs under autocast, which runs group and layer norm in float32.
    """
    if y.stride() == x.stride():
        return y.to(x.dtype)
    like_x = torch.empty_like(x)
    return y.to(x.dtype) if like_x.stride() == y.stride() else like_x.copy_(y)


def wide(parameter: Tensor) -> Tensor:
    """Give a per-channel tensor in float32 if it is narrower: batch statistics and their scales never are."""
    return parameter.float() if parameter.dtype in (torch.bfloat16, torch.float16) else parameter


def for_kernel(parameter: Tensor, x: Tensor) -> Tensor:
    """Give a parameter in the type that group and layer norm's kernels want: the input's, or autocast's choice."""
    return parameter if torch.is_autocast_enabled(x.device.type) else parameter.to(x.dtype)


def normalize_groups(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalize x [N, C, *space] over groups of channels; stable in every memory layout.

    torch's CPU kernel for channels_last takes E[x²] − E[x]², which fails at large means; the contiguous one is exact.
    """
    y = F.group_norm(x.contiguous(), groups, for_kernel(weight, x), for_kernel(bias, x), eps)
    return like_input(y, x)


Module = TypeVar("Module", bound=nn.Module)


def keep_buffers_wide(module: Module) -> Module:
    """Bring running statistics back to float32 after a cast to a narrower type: in bfloat16 they would stall."""
    for name, buffer in module.named_buffers(recurse=False):
        if buffer.is_floating_point():
            setattr(module, name, wide(buffer))
    return module
