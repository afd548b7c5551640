"""What the normalizers share: checks of the input, and buffers that stay wide."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor, nn

from normzoo.kernels.forms import wide


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


def check_values_of_all(x: Tensor, count: Tensor) -> None:
    """Require at least 2 values per channel over all ranks; ``count`` [] has their number.

    Raises:
        TooFewValuesError: when there are fewer, on every rank.

    """
    # a rank that holds 2 itself knows without looking: reading the count would wait for the device
    if x.shape[0] * math.prod(x.shape[2:]) < 2 and count < 2:
        raise TooFewValuesError(
            f"a batch statistic needs 2 values per channel over all ranks, got {int(count)}; "
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


Module = TypeVar("Module", bound=nn.Module)


def keep_buffers_wide(module: Module) -> Module:
    """Bring running statistics back to float32 after a cast to a narrower type: in bfloat16 they would stall."""
    for name, buffer in module.named_buffers(recurse=False):
        if buffer.is_floating_point():
            setattr(module, name, wide(buffer))
    return module
