"""Synchronized batch normalization: batch norm by the mean and variance over all data-parallel ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _NormBase

from normzoo.norms._common import TooFewValuesError, check_channels, keep_buffers_wide, like_input, wide
from normzoo.norms.batch_norm import batch_norm, count_batch
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

    Works on CPU (gloo) as on GPUs (NCCL).
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
        if not (self.training and self._ranks() > 1):
            return batch_norm(self, x)
        check_channels(x, self.weight.shape[0])
        mean, var, count = _global_statistics(x, self.process_group)
        if count < 2:  # waits for the device
            raise TooFewValuesError(
                f"a batch statistic needs 2 values per channel over all ranks, got {int(count)}; "
                "use a larger batch, or a normalizer that does not pool over the batch"
            )
        self._update(mean, var, count)
        y: Tensor = _Normalize.apply(
            x, wide(self.weight), wide(self.bias), mean, torch.rsqrt(var + self.eps), count, self.process_group
        )
        return like_input(y, x)

    def _ranks(self) -> int:
        return dist.get_world_size(self.process_group) if dist.is_available() and dist.is_initialized() else 1

    @torch.no_grad()
    def _update(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        count_batch(self)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum or 0.0)
        self.running_var.lerp_((var * count / (count - 1)).to(self.running_var.dtype), self.momentum or 0.0)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's has no types
        return keep_buffers_wide(self)


@torch.no_grad()
def _global_statistics(x: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor, Tensor]:
    """Give mean [C], biased variance [C] and the number of values [] over all ranks, by one all-gather."""
    values = wide(x).transpose(0, 1).flatten(1)  # [C, n]
    count = values.new_tensor([values.shape[1]])
    mean = values.mean(1) if values.shape[1] else values.new_zeros(len(values))
    squares = (values - mean[:, None]).square().sum(1)
    gathered = [torch.empty_like(torch.cat([mean, squares, count])) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, torch.cat([mean, squares, count]), group=group)
    means, squares_, counts = torch.stack(gathered).split([len(mean), len(mean), 1], dim=1)  # [ranks, C], …, [ranks, 1]
    total = counts.sum()
    merged = (means * counts).sum(0) / total
    spread = squares_.sum(0) + (counts * (means - merged).square()).sum(0)
    return merged, spread / total, total


class _Normalize(torch.autograd.Function):
    """Normalize by statistics of all ranks; backward needs two sums per channel over all ranks (one all-reduce)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        scale: Tensor,
        count: Tensor,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        """Give (x − mean)·scale·weight + bias; scale is 1/√(var + eps), count the values of all ranks."""
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.group = group
        return torch.addcmul(_spread(bias, x), _normalized(x, mean, scale), _spread(weight, x)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients; those of weight and bias are this rank's share, as DDP expects them."""
        x, weight, mean, scale, count = ctx.saved_tensors
        gradient, normalized = wide(gradients[0]), _normalized(x, mean, scale)
        axes = [0, *range(2, x.dim())]
        sums = torch.stack([gradient.sum(axes), (gradient * normalized).sum(axes)])  # [2, C]
        of_all = sums.clone()
        dist.all_reduce(of_all, group=ctx.group)
        shared = (_spread(of_all[0], x) + normalized * _spread(of_all[1], x)) / count
        of_x = _spread(weight * scale, x) * (gradient - shared)
        return of_x.to(x.dtype), sums[1].to(weight.dtype), sums[0].to(weight.dtype), None, None, None, None


def _normalized(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return (wide(x) - _spread(mean, x)) * _spread(scale, x)


def _spread(per_channel: Tensor, x: Tensor) -> Tensor:
    """View [C] so that it broadcasts over x [N, C, *space]."""
    return per_channel.view(1, -1, *[1] * (x.dim() - 2))
