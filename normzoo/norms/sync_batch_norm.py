"""Synchronized batch normalization: batch norm by the mean and variance over all data-parallel ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from normzoo.kernels.forms import canonical, like_input, wide
from normzoo.kernels.normalize import Moments, normalize
from normzoo.kernels.ranks import Ranks, moments_over_ranks, world_size
from normzoo.norms._common import check_channels, check_values_of_all, keep_buffers_wide
from normzoo.norms.batch_norm import batch_norm, move, set_population
from normzoo.registry import register


@register(
    "sync_batch_norm",
    paper="arXiv:1711.07240",
    year=2017,
    pools={"rank", "batch", "space"},
    running_stats=True,
    eval_only_stats=True,
)
class SyncBatchNorm(_NormBase):
    """Batch normalization over all data-parallel ranks (Peng et al. 2017).

    Works on CPU (gloo) as on GPUs (NCCL), with one collective forward and one backward.
    Shapes: x is [N, C, *space] with 0 to 3 space axes; the result has its shape, dtype and memory layout.
    Ranks may hold unequal shards, empty ones too: values are weighed alike, so that the result, the gradients and the
    buffers are those of the whole batch in one process (statistics merged by Chan et al. 1979; the layer is that of
    MegDet, Peng et al. 2017). Without a process group, with one rank, or in eval, it is batch norm.

    Not derived from torch's ``_BatchNorm``: ``convert_sync_batchnorm`` swallows every subclass of that.

    Raises:
        TooFewValuesError: in training, with fewer than 2 values per channel over all ranks.

    """

    running_mean: Tensor  # [C]
    running_var: Tensor  # [C], unbiased

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)
        self.process_group = process_group

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space]."""
        if not self.training or world_size(self.process_group) == 1:
            return batch_norm(self, x)
        check_channels(x, self.weight.shape[0])
        return like_input(self._over_ranks(canonical(x)), x)

    def _over_ranks(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            mean, var, count = moments_over_ranks(x, self.process_group)
            check_values_of_all(x, count)
            move(self, mean, var, count)
            moments = Moments(mean, var, torch.rsqrt(var + self.eps))
        ranks = Ranks(self.process_group, count)
        return normalize(x, wide(self.weight), wide(self.bias), moments, self.eps, ranks=ranks)

    def set_population(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Take mean and biased variance [C] of ``count`` values per channel as running statistics."""
        set_population(self, mean, var, count)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        with keep_buffers_wide(self):
            return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]  # torch's has no types
