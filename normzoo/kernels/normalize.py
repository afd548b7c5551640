"""Normalization by statistics of the batch, with the backward pass of batch norm: one way for all who pool over it.

y = γ(r·x̂ + d) + β, with r and d constants, is batch norm with weight γr and bias β + γd, and so is its backward
(Ioffe 2017). Batch norm itself has r = 1 and d = 0. With statistics of all ranks, backward needs the two sums per
channel of all ranks, too.

Only x and some [C] are saved for backward, and no buffer: a running statistic that is written between forward and
backward does no harm.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from normzoo.kernels.choose import is_transformed
from normzoo.kernels.forms import like_input
from normzoo.kernels.gradients import Correction, affine, backward, backward_over_ranks, composed, differentiable
from normzoo.kernels.ranks import Ranks


class Moments(NamedTuple):
    """Statistics of a batch, each [C]: mean, biased variance, and 1/√(var + eps)."""

    mean: Tensor
    var: Tensor
    invstd: Tensor


def normalize(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    moments: Moments,
    eps: float,
    correction: Correction | None = None,
    ranks: Ranks | None = None,
) -> Tensor:
    """Normalize x [N, C, *space] by statistics of its batch, over ``ranks`` if given.

    weight and bias [C] are float32 or wider. The result has the dtype and memory layout of x. The gradient goes through
    the statistics as batch norm's does, although they are given: they have to be those of x, or of x on all ranks.
    """
    if ranks is None and (x.device.type not in ("cpu", "cuda") or is_transformed()):
        return like_input(composed(x, weight, bias, correction, eps), x)
    fixed = correction or Correction(None, None, weight.detach(), bias.detach())  # type: ignore[arg-type]  # no r and d
    y: Tensor = _Normalize.apply(x, weight, bias, *moments, *fixed, eps, ranks)
    return y


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        var: Tensor,
        invstd: Tensor,
        r: Tensor | None,
        d: Tensor | None,
        scale: Tensor,
        shift: Tensor,
        eps: float,
        ranks: Ranks | None,
    ) -> Tensor:
        ctx.eps, ctx.ranks = eps, ranks
        ctx.save_for_backward(x, weight, mean, invstd, r, d, scale)
        if x.numel() == 0:  # an empty shard
            return torch.empty_like(x)
        if x.device.type == "cuda":
            return like_input(torch.batch_norm_elemt(x, scale, shift, mean, invstd, eps), x)
        return like_input(affine(x, scale, shift, mean, var, eps), x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, invstd, r, d, scale = ctx.saved_tensors
        wanted = tuple(ctx.needs_input_grad[:3])
        if torch.is_grad_enabled():  # a gradient of the gradient is wanted
            correction = None if r is None else Correction(r, d, scale, scale)
            found = differentiable(gradients[0], x, weight, correction, ctx.eps, ctx.ranks, wanted)
            return *found, *[None] * 9
        give = backward if ctx.ranks is None else backward_over_ranks
        gradient = like_input(gradients[0], x)
        of_x, of_scale, of_shift = give(gradient, x, scale, mean, invstd, ctx.ranks, wanted)
        of_weight = of_scale if r is None else torch.addcmul(d * of_shift, r, of_scale)
        return of_x, of_weight, of_shift, *[None] * 9
