"""Dtypes and memory layouts: the input's form is given back, statistics are never narrower than float32."""

from __future__ import annotations

import torch
from torch import Tensor

from normzoo.kernels.choose import is_mapped, is_transformed

NARROW = (torch.bfloat16, torch.float16)


def wide(tensor: Tensor) -> Tensor:
    """Give a tensor in float32 if it is narrower: batch statistics and their scales never are."""
    return tensor.float() if tensor.dtype in NARROW else tensor


def wide_dtype(x: Tensor) -> torch.dtype:
    """Give the type in which statistics of ``x`` are taken."""
    return torch.float32 if x.dtype in NARROW else x.dtype


def like_input(y: Tensor, x: Tensor) -> Tensor:
    """Give ``y`` the dtype and memory layout of ``x`` (of the same shape); nothing is copied where it has both.

    The dtype differs under autocast, which runs group and layer norm in float32.
    """
    if y.stride() == x.stride() or is_mapped():  # mapped, y may have an axis more than x
        return y.to(x.dtype)
    like_x = torch.empty_like(x)
    return y.to(x.dtype) if like_x.stride() == y.stride() else like_x.copy_(y)


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """View [C] so that it broadcasts over x [N, C, *space]."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


def channels_innermost(x: Tensor) -> bool:
    """Tell whether the channels of dense x [N, C, *space] lie next to each other in memory (channels_last).

    Without space axes they do. A tensor with one channel or one position has both layouts; it counts as contiguous.
    """
    if x.dim() == 4:  # the common case, and the quickest question
        return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return (x.dim() == 2 and x.is_contiguous()) or (not x.is_contiguous() and x.movedim(1, -1).is_contiguous())


def canonical(x: Tensor) -> Tensor:
    """View channels_last x with the strides that torch gives such a tensor, where an axis of size 1 has another.

    Strides of such an axis mean nothing, but torch's batch norm is wrong by them: it takes a contiguous gradient for
    one in the layout of x.
    """
    if x.dim() < 3 or is_transformed() or not channels_innermost(x):
        return x
    strides, step = [0] * x.dim(), 1
    for axis in (1, *range(x.dim() - 1, 1, -1), 0):
        strides[axis], step = step, step * x.shape[axis]
    return x if list(x.stride()) == strides else x.as_strided(x.shape, strides)


def as_rows(x: Tensor) -> Tensor:
    """View x [N, C, *space], its channels innermost in memory, as [N, S, C]; without space axes S is 1.

    Raises:
        ValueError: where its channels are not innermost.

    """
    if not channels_innermost(x):
        raise ValueError(f"expected channels innermost in memory, got strides {x.stride()} for shape {tuple(x.shape)}")
    return x.movedim(1, -1).reshape(x.shape[0], -1, x.shape[1])


def for_kernel(parameter: Tensor, x: Tensor) -> Tensor:
    """Give a parameter in the type that torch's group and layer norm want: the input's, or autocast's choice.

    On CPUs it is never narrow: the statistics that their backward uses have its type.
    """
    if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):  # which knows no meta
        return parameter
    return parameter.to(wide_dtype(x) if x.device.type == "cpu" else x.dtype)
