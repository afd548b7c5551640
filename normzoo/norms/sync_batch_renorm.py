"""Synchronized batch renormalization: batch renorm by the mean and variance over all data-parallel ranks."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor

from normzoo.kernels.ranks import Ranks, moments_over_ranks, world_size
from normzoo.norms._common import check_values_of_all
from normzoo.norms.batch_renorm import Average, BatchRenorm
from normzoo.registry import register


@register(
    "sync_batch_renorm", paper="arXiv:1702.03275", year=2017, pools={"rank", "batch", "space"}, running_stats=True
)
class SyncBatchRenorm(BatchRenorm):
    """Batch renormalization (Ioffe 2017, algorithm 1) over all data-parallel ranks.

    The batch statistics are those of all ranks, as in ``sync_batch_norm``, with one collective forward and one
    backward; r and d, and the moving statistics, are then the same on every rank. Shards may be unequal, or empty.
    Shapes, options and the rest are those of ``batch_renorm``, which it is without a process group, with one rank, or
    in eval. ``process_group`` is torch's; None means all ranks.

    Raises:
        TooFewValuesError: in training, with fewer than 2 values per channel over all ranks.

    """

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.01,
        r_max: float = 3.0,
        d_max: float = 5.0,
        warmup_steps: int = 0,
        average: Average = "exponential",
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(
            num_features,
            eps=eps,
            momentum=momentum,
            r_max=r_max,
            d_max=d_max,
            warmup_steps=warmup_steps,
            average=average,
        )
        self.process_group = process_group

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Ranks | None]:
        if world_size(self.process_group) == 1:
            return super()._statistics(x)
        mean, var, count = moments_over_ranks(x, self.process_group)
        check_values_of_all(x, count)
        return mean, var, Ranks(self.process_group, count)
