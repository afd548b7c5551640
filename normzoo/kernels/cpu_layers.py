"""Layer norm over the channels of contiguous [N, C, *space] tensors on CPUs, where torch would transpose twice."""

from __future__ import annotations

import torch
from torch import Tensor

from normzoo.kernels.forms import wide_dtype
from normzoo.kernels.parts import Scratch, parts, scale_and_shift


def takes(x: Tensor) -> bool:
    """Tell whether x [N, C, *space] is contiguous on a CPU, with space axes."""
    return x.device.type == "cpu" and x.dim() > 2 and x.numel() > 0 and x.is_contiguous()


def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Give the normalized x [N, C, *space], and mean and 1/√(var + eps) of every position [N, 1, S]."""
    y, x = torch.empty_like(x), x.flatten(2)
    into, scratch = y.flatten(2), Scratch(2, x.shape[1], wide_dtype(x))
    mean, scale = torch.empty(2, len(x), 1, x.shape[2], dtype=wide_dtype(x))
    weight, bias = weight[:, None], bias[:, None]
    for some, there in parts(*x.shape):
        values, part = scratch.wide(0, x[some, :, there]), into[some, :, there]
        m, s = (one[some, :, there] for one in (mean, scale))
        torch.mean(values, 1, keepdim=True, out=m)
        centred = torch.sub(values, m, out=scratch(0, values))
        var = torch.mul(centred, centred, out=scratch(1, values)).mean(1, keepdim=True)
        torch.rsqrt(var + eps, out=s)
        scale_and_shift(part, bias, centred.mul_(s), weight, centred)
    return y, mean, scale


def backward(gradient: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of x, weight and bias; the gradient has the memory layout of x."""
    of_x, x, gradient = torch.empty_like(x), x.flatten(2), gradient.flatten(2)
    into, scratch = of_x.flatten(2), Scratch(4, x.shape[1], wide_dtype(x))
    of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(weight)
    weights, average = weight[:, None], weight / len(weight)
    for some, there in parts(*x.shape):
        g, values = (scratch.wide(i, one[some, :, there]) for i, one in enumerate((gradient, x)))
        m, s = (one[some, :, there] for one in (mean, scale))
        normalized = torch.sub(values, m, out=scratch(2, values)).mul_(s)
        along = torch.mul(g, normalized, out=scratch(3, values))
        of_weight += along.sum((0, 2))
        of_bias += g.sum((0, 2))
        with torch.autocast("cpu", enabled=False):  # it would multiply in bfloat16
            slope, ahead = (torch.matmul(average, one)[:, None].mul_(s).neg_() for one in (along, g))
        base = torch.addcmul(ahead, normalized, slope, out=along)
        scale_and_shift(into[some, :, there], base, torch.mul(g, s, out=normalized), weights, base)
    return of_x, of_weight, of_bias
