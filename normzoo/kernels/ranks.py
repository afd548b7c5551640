"""Statistics over all data-parallel ranks: one collective forward, one backward, and no waiting for the device."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from normzoo.kernels.forms import wide_dtype
from normzoo.kernels.moments import batch_moments, merge


class Ranks:
    """The ranks of a process group, and how many values per channel they hold together, ``count`` []."""

    def __init__(self, group: dist.ProcessGroup | None, count: Tensor) -> None:
        self.group, self.count = group, count

    def sum(self, values: Tensor) -> Tensor:
        """Give the sum over ranks of a tensor of any shape; its gradient is the sum over ranks, too."""
        total: Tensor = _Sum.apply(values, self.group)
        return total


def world_size(group: dist.ProcessGroup | None) -> int:
    """Give the number of ranks; 1 without a process group."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


def moments_over_ranks(x: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor, Tensor]:
    """Give mean, biased variance [C] and the number of values per channel [] over all ranks, by one all-gather.

    x [N, C, *space] may differ in N from rank to rank, and may be empty. To be called without gradients.
    """
    channels = x.shape[1]
    own = torch.zeros(2 * channels + 1, dtype=wide_dtype(x), device=x.device)
    own[-1] = x.numel() // channels
    if x.numel():
        torch.cat(batch_moments(x), out=own[:-1])
    every = own.new_empty(world_size(group) * len(own))
    dist.all_gather_into_tensor(every, own, group=group)
    every = every.view(-1, len(own))
    return merge(every[:, :channels], every[:, channels:-1], every[:, -1:])


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group, total = group, values.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        total: Tensor = _Sum.apply(gradients[0].contiguous(), ctx.group)
        return total, None
