"""What the normalizers share: checks of the input, and buffers that stay wide."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from torch import Tensor, nn

from normzoo.kernels.forms import NARROW


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


@contextlib.contextmanager
def keep_buffers_wide(module: nn.Module) -> Iterator[None]:
    """Keep a module's own floating-point buffers in float32, values and all, while it is cast to a narrower type.

    In bfloat16 running statistics would stall, and in float16 large ones are infinite. To be put around ``_apply``:

    >>> def _apply(self, fn, recurse=True):
    ...     with normzoo.keep_buffers_wide(self):
    ...         return super()._apply(fn, recurse)
    """
    before = {name: buffer for name, buffer in module.named_buffers(recurse=False) if buffer.is_floating_point()}
    yield
    for name, buffer in before.items():
        cast = module.get_buffer(name)
        if cast.dtype in NARROW:
            setattr(module, name, buffer.float().to(cast.device))
