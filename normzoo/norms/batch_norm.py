"""Batch normalization: every channel by the mean and variance of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from normzoo.norms._common import check_batch_values, check_channels, keep_buffers_wide, like_input, wide
from normzoo.registry import register


@register(
    "batch_norm",
    paper="arXiv:1502.03167",
    year=2015,
    pools={"batch", "space"},
    running_stats=True,
    eval_only_stats=True,
)
class BatchNorm(_BatchNorm):
    """Batch normalization (Ioffe & Szegedy 2015, algorithm 1).

    torch's own kernels, for any number of space axes.
    Shapes: x is [N, C, *space] with 0 to 3 space axes; the result has its shape, dtype and memory layout.
    Training normalizes by the biased variance of the batch and stores the unbiased one, as torch does; eval uses the
    running statistics. ``momentum`` is torch's: the weight of the new batch. Buffers stay float32 when parameters are
    narrower.

    Raises:
        TooFewValuesError: in training, with fewer than 2 values per channel.

    """

    running_mean: Tensor  # [C]
    running_var: Tensor  # [C], unbiased

    def __init__(self, num_features: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space]."""
        return batch_norm(self, x)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's has no types
        return keep_buffers_wide(self)


def batch_norm(module: _NormBase, x: Tensor) -> Tensor:
    """Normalize x [N, C, *space] with a module's parameters and buffers, by this process's batch alone."""
    check_channels(x, module.weight.shape[0])
    if module.training:
        check_batch_values(x)
        count_batch(module)
    y = F.batch_norm(
        x,
        module.running_mean,
        module.running_var,
        wide(module.weight),
        wide(module.bias),
        module.training,
        module.momentum or 0.0,
        module.eps,
    )
    return like_input(y, x)


def count_batch(module: _NormBase) -> None:
    """Count one training step in ``num_batches_tracked``."""
    if module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
