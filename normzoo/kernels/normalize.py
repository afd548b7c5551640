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
from torch.nn import functional as F

from normzoo.kernels.choose import is_transformed
from normzoo.kernels.forms import NARROW, like_input, per_channel, wide_dtype
from normzoo.kernels.moments import NO_EPS
from normzoo.kernels.ranks import Ranks

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Moments(NamedTuple):
    """Statistics of a batch, each [C]: mean, biased variance, and 1/√(var + eps)."""

    mean: Tensor
    var: Tensor
    invstd: Tensor


class Correction(NamedTuple):
    """What Batch Renorm does to x̂, each [C]: r and d, constant in the gradient, and scale = γr, shift = β + γd."""

    r: Tensor
    d: Tensor
    scale: Tensor
    shift: Tensor


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
        return like_input(_composed(x, weight, bias, correction, eps), x)
    fixed = correction or Correction(None, None, weight.detach(), bias.detach())  # type: ignore[arg-type]  # no r and d
    y: Tensor = _Normalize.apply(x, weight, bias, *moments, *fixed, eps, ranks)
    return y


def affine(x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    """Give scale·(x − mean)/√(var + eps) + shift by torch's kernel; the gradient does not pass mean and var."""
    return torch.batch_norm(x, scale, shift, mean, var, False, 0.0, eps, torch.backends.cudnn.enabled)


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
            found = _differentiable(gradients[0], x, weight, correction, ctx.eps, ctx.ranks, wanted)
            return *found, *[None] * 9
        backward = _backward if ctx.ranks is None else _backward_over_ranks
        gradient = like_input(gradients[0], x)
        of_x, of_scale, of_shift = backward(gradient, x, scale, mean, invstd, ctx.ranks, wanted)
        of_weight = of_scale if r is None else torch.addcmul(d * of_shift, r, of_scale)
        return of_x, of_weight, of_shift, *[None] * 9


def _backward(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor,
    mean: Tensor,
    invstd: Tensor,
    ranks: None,
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Give the gradients of x, scale and shift."""
    found: tuple[Tensor | None, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward.default(
        gradient, x, scale, None, None, mean, invstd, True, NO_EPS, [wanted[0], True, True]
    )
    return found


def _backward_over_ranks(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor,
    mean: Tensor,
    invstd: Tensor,
    ranks: Ranks,
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Do the same with statistics of all ranks; the gradients of scale and shift are this rank's share."""
    if x.device.type == "cuda" and x.numel():
        return _backward_over_ranks_on_cuda(gradient, x, scale, mean, invstd, ranks, wanted)
    of_scale = of_shift = torch.zeros_like(mean)
    if x.numel():
        _, of_scale, of_shift = _backward(gradient, x, scale, mean, invstd, None, (False, True, True))
    if not wanted[0]:
        return None, of_scale, of_shift  # the same on every rank, so that none waits for another
    sums = ranks.sum(torch.stack([of_shift, of_scale])) / ranks.count
    slope, constant = (-scale * invstd * one for one in (invstd * sums[1], sums[0]))
    return _combined(gradient, x, scale * invstd, slope, constant, mean), of_scale, of_shift


def _backward_over_ranks_on_cuda(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor,
    mean: Tensor,
    invstd: Tensor,
    ranks: Ranks,
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor, Tensor]:
    *sums, of_scale, of_shift = torch.batch_norm_backward_reduce(gradient, x, mean, invstd, scale, True, True, True)
    if not wanted[0]:
        return None, of_scale, of_shift
    of_all, count = ranks.sum(torch.stack(sums)), ranks.count.to(torch.int32).view(1)
    of_x = torch.batch_norm_backward_elemt(gradient, x, mean, invstd, scale, of_all[0], of_all[1], count)
    return of_x, of_scale, of_shift


def _combined(g: Tensor, x: Tensor, of_g: Tensor, of_x: Tensor, constant: Tensor, mean: Tensor) -> Tensor:
    """Give of_g·g + of_x·(x − mean) + constant, with coefficients [C]."""
    if x.dtype not in NARROW:
        result = torch.mul(g, per_channel(of_g, x))
        return result.addcmul_(x, per_channel(of_x, x)).add_(per_channel(constant - of_x * mean, x))
    # narrow coefficients would lose digits; torch's eval batch norm takes wide ones, and rounds once
    zero, one = torch.zeros_like(mean), torch.ones_like(mean)
    return affine(g, of_g, zero, zero, one, NO_EPS).add_(affine(x, of_x, constant, mean, one, NO_EPS))


def _differentiable(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    correction: Correction | None,
    eps: float,
    ranks: Ranks | None,
    wanted: tuple[bool, ...],
) -> Gradients:
    """Give the gradients of x, weight and bias as functions that can be differentiated again."""
    with torch.enable_grad():
        bias = torch.zeros_like(weight).requires_grad_()
        if ranks is None:
            y = _composed(x, weight, bias, correction, eps)
        else:
            y = _composed_over_ranks(x, weight, bias, correction, eps, ranks)
        inputs = [one for one, want in zip((x, weight, bias), wanted, strict=True) if want]
        found = iter(torch.autograd.grad(y, inputs, gradient.to(y.dtype), create_graph=True))
    return tuple(next(found) if want else None for want in wanted)  # type: ignore[return-value]  # three of them


def _composed(x: Tensor, weight: Tensor, bias: Tensor, correction: Correction | None, eps: float) -> Tensor:
    if correction is not None:
        bias, weight = torch.addcmul(bias, weight, correction.d), weight * correction.r
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)


def _composed_over_ranks(
    x: Tensor, weight: Tensor, bias: Tensor, correction: Correction | None, eps: float, ranks: Ranks
) -> Tensor:
    values, axes = x.to(wide_dtype(x)), [0, *range(2, x.dim())]
    mean = ranks.sum(values.sum(axes)) / ranks.count
    centred = values - per_channel(mean, x)
    scale = torch.rsqrt(ranks.sum(centred.square().sum(axes)) / ranks.count + eps)
    if correction is not None:
        bias, weight = torch.addcmul(bias, weight, correction.d), weight * correction.r
    return torch.addcmul(per_channel(bias, x), centred, per_channel(scale * weight, x)).to(x.dtype)
