"""The gradients of normalization by batch statistics: by torch's kernels, and as functions to differentiate again.

With g the gradient that comes in, n the values per channel, G0 = Σg and G1 = Σg·x̂, that of x is
scale·invstd·(g − G0/n − x̂·G1/n), that of scale G1, and that of shift G0. Over ranks, n and the sums are those of all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from normzoo.kernels.forms import NARROW, per_channel, wide_dtype
from normzoo.kernels.moments import NO_EPS
from normzoo.kernels.parts import PIECE
from normzoo.kernels.ranks import Ranks

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Correction(NamedTuple):
    """What Batch Renorm does to x̂, each [C]: r and d, constant in the gradient, and scale = γr, shift = β + γd."""

    r: Tensor
    d: Tensor
    scale: Tensor
    shift: Tensor


def affine(x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    """Give scale·(x − mean)/√(var + eps) + shift by torch's kernel; the gradient does not pass mean and var."""
    return torch.batch_norm(x, scale, shift, mean, var, False, 0.0, eps, torch.backends.cudnn.enabled)


def backward(
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


def backward_over_ranks(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor,
    mean: Tensor,
    invstd: Tensor,
    ranks: Ranks,
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Do the same with statistics of all ranks; the gradients of scale and shift are this rank's share.

    Either all ranks want the gradient of x or none: those that do not would leave the others waiting.
    """
    if x.device.type == "cuda" and x.numel():
        return _over_ranks_on_cuda(gradient, x, scale, mean, invstd, ranks, wanted)
    of_scale = of_shift = torch.zeros_like(mean)
    if x.numel():
        _, of_scale, of_shift = backward(gradient, x, scale, mean, invstd, None, (False, True, True))
    if not wanted[0]:
        return None, of_scale, of_shift
    sums = ranks.sum(torch.stack([of_shift, of_scale])) / ranks.count
    slope, constant = (-scale * invstd * one for one in (invstd * sums[1], sums[0]))
    return _combined(gradient, x, scale * invstd, slope, constant, mean), of_scale, of_shift


def _over_ranks_on_cuda(
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
        result, size = torch.empty_like(x), max(1, PIECE * len(x) // max(x.numel(), 1))
        slope, other, shift = (per_channel(one, x) for one in (of_g, of_x, constant - of_x * mean))
        for into, g_part, x_part in zip(result.split(size), g.split(size), x.split(size), strict=True):
            torch.mul(g_part, slope, out=into).addcmul_(x_part, other).add_(shift)  # while it is in the cache
        return result
    # narrow coefficients would lose digits; torch's eval batch norm takes wide ones, and rounds once
    zero, one = torch.zeros_like(mean), torch.ones_like(mean)
    # the constant takes away the mean of g, so it goes there, before anything is rounded
    return affine(g, of_g, constant, zero, one, NO_EPS).add_(affine(x, of_x, zero, mean, one, NO_EPS))


def differentiable(
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
            y = composed(x, weight, bias, correction, eps)
        else:
            y = _composed_over_ranks(x, weight, bias, correction, eps, ranks)
        inputs = [one for one, want in zip((x, weight, bias), wanted, strict=True) if want]
        found = iter(torch.autograd.grad(y, inputs, gradient.to(y.dtype), create_graph=True))
    return tuple(next(found) if want else None for want in wanted)  # type: ignore[return-value]  # three of them


def composed(x: Tensor, weight: Tensor, bias: Tensor, correction: Correction | None, eps: float) -> Tensor:
    """Normalize x by its own statistics with operations that autograd and compilers see through."""
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
