"""Batch renormalization: batch norm, corrected towards the running statistics that eval will use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normzoo.norms._common import check_batch_values, check_channels, keep_buffers_wide, like_input, wide
from normzoo.registry import register

NO_EPS = 1e-30  # the running std already holds eps; torch's kernel wants one above 0, and this one changes no variance

Average = Literal["exponential", "cumulative"]


@register("batch_renorm", paper="arXiv:1702.03275", year=2017, pools={"batch", "space"}, running_stats=True)
class BatchRenorm(nn.Module):
    """Batch renormalization (Ioffe 2017, algorithm 1).

    y = γ(r·x̂ + d) + β, with r and d constants in the gradient.
    Shapes: x is [N, C, *space] with 0 to 3 space axes; the result has its shape, dtype and memory layout.
    r = σ_B/σ within [1/r_max, r_max] and d = (μ_B − μ)/σ within ± d_max, from the running statistics as they were
    before this step. The moving statistic is the standard deviation √(var + eps) with the biased variance, as in the
    paper, not the variance. ``momentum`` is the weight of the new batch (the paper's α).

    With ``warmup_steps = 0`` the limits are constant. Otherwise they start at 1 and 0 (plain batch norm) and ramp in
    the paper's proportions: both begin at an eighth of the warm-up, d_max is reached after five eighths, r_max at its
    end (5k, 25k and 40k steps in the paper). ``average = "cumulative"`` weighs step t by max(1/t, momentum), which runs
    of a few hundred steps need.

    Raises:
        ValueError: for limits out of range or an unknown average.
        TooFewValuesError: in training, with fewer than 2 values per channel.

    """

    running_mean: Tensor  # [C]
    running_std: Tensor  # [C], the moving average of sqrt(var + eps)
    num_batches_tracked: Tensor  # [], training steps so far

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
    ) -> None:
        super().__init__()
        if r_max < 1 or d_max < 0 or warmup_steps < 0:
            raise ValueError(
                "needs r_max >= 1, d_max >= 0 and warmup_steps >= 0, "
                f"got r_max={r_max}, d_max={d_max}, warmup_steps={warmup_steps}"
            )
        if average not in get_args(Average):
            raise ValueError(f"average is one of {', '.join(get_args(Average))}, got {average!r}")
        self.eps, self.momentum, self.average = eps, momentum, average
        self.r_max, self.d_max, self.warmup_steps = r_max, d_max, warmup_steps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_std", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))

    @classmethod
    def run_options(cls, steps: int) -> dict[str, Any]:
        """Give what a run of this many steps wants: a cumulative start, and the ramp over its first quarter."""
        return {"average": "cumulative", "warmup_steps": steps // 4}

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space]."""
        check_channels(x, self.weight.shape[0])
        weight, bias = wide(self.weight), wide(self.bias)
        if not self.training:
            y = F.batch_norm(x, self.running_mean, self.running_std.square(), weight, bias, eps=NO_EPS)
            return like_input(y, x)
        check_batch_values(x)
        mean, std = self._batch_statistics(x.detach())
        r, d = self._correction(mean, std)
        self._update(mean, std)
        # γ(r·x̂ + d) + β is batch norm with weight γr and bias β + γd; its backward is the paper's, r and d constant
        y = F.batch_norm(x, None, None, weight * r, bias + weight * d, training=True, eps=self.eps)
        return like_input(y, x)

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        axes = [0, *range(2, x.dim())]
        var, mean = torch.var_mean(x.to(self.running_mean.dtype), axes, correction=0)  # [C] each
        return mean, torch.sqrt(var + self.eps)

    def _correction(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        r_max, d_max = self._limits()
        r = torch.clamp(std / self.running_std, 1 / r_max, r_max)
        d = torch.clamp((mean - self.running_mean) / self.running_std, -d_max, d_max)
        return r, d

    def _limits(self) -> tuple[Tensor, Tensor]:
        """Give r_max and d_max of this step, as tensors on the device: numbers would freeze in a captured graph."""
        part = self.num_batches_tracked.to(self.running_mean.dtype) / max(self.warmup_steps, 1)  # of the warm-up
        done = torch.ones_like(part)
        r_part = torch.clamp((part - 0.125) / 0.875, 0, 1) if self.warmup_steps else done
        d_part = torch.clamp((part - 0.125) / 0.5, 0, 1) if self.warmup_steps else done
        return 1 + (self.r_max - 1) * r_part, self.d_max * d_part

    @torch.no_grad()
    def _update(self, mean: Tensor, std: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        weight: Tensor | float = self.momentum
        if self.average == "cumulative":
            weight = torch.clamp(1 / self.num_batches_tracked.to(mean.dtype), min=self.momentum)
        self.running_mean.lerp_(mean, weight)
        self.running_std.lerp_(std, weight)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's has no types
        return keep_buffers_wide(self)

    def extra_repr(self) -> str:
        """Show channels, limits and how they are reached."""
        return (
            f"{self.weight.shape[0]}, eps={self.eps}, momentum={self.momentum}, r_max={self.r_max}, "
            f"d_max={self.d_max}, warmup_steps={self.warmup_steps}, average={self.average}"
        )
