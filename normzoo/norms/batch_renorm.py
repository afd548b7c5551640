"""Batch renormalization: batch norm, corrected towards the running statistics that eval will use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from normzoo.kernels.forms import canonical, like_input, wide
from normzoo.kernels.gradients import Correction, affine
from normzoo.kernels.moments import NO_EPS, batch_moments
from normzoo.kernels.normalize import Moments, normalize
from normzoo.kernels.ranks import Ranks
from normzoo.kernels.recompute import Corrections
from normzoo.kernels.renorm import Running, Schedule, correct
from normzoo.norms._common import check_batch_values, check_channels, keep_buffers_wide
from normzoo.registry import register

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
        self._corrections = Corrections()
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
        return like_input(self._normalize(canonical(x), wide(self.weight), wide(self.bias)), x)

    def _normalize(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if not self.training:
            return affine(x, weight, bias, self.running_mean, self.running_std.square(), NO_EPS)
        with torch.no_grad():
            mean, var, ranks = self._statistics(x)
            moments, correction = self._correct(mean, var, weight, bias)
        return normalize(x, weight, bias, moments, self.eps, correction, ranks)

    def set_population(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Take mean and biased variance [C] of ``count`` values per channel as moving statistics."""
        with torch.no_grad():
            self.running_mean.copy_(mean)
            self.running_std.copy_(torch.sqrt(var + self.eps))

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Ranks | None]:
        """Give the mean and biased variance [C] that x is normalized by, and the ranks that they are over."""
        check_batch_values(x)
        return *batch_moments(x), None

    def _correct(self, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> tuple[Moments, Correction]:
        running = Running(self.running_mean, self.running_std, self.num_batches_tracked)
        limits = Schedule(self.momentum, self.r_max, self.d_max, self.warmup_steps, self.average == "cumulative")
        return correct(mean, var, self.eps, running, weight, bias, limits, self._corrections)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        with keep_buffers_wide(self):
            return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]  # torch's has no types

    def extra_repr(self) -> str:
        """Show channels, limits and how they are reached."""
        return (
            f"{self.weight.shape[0]}, eps={self.eps}, momentum={self.momentum}, r_max={self.r_max}, "
            f"d_max={self.d_max}, warmup_steps={self.warmup_steps}, average={self.average}"
        )
