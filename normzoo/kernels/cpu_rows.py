"""Layer norm over innermost channels on CPUs, for narrow types: torch's kernel adds up weight gradients in them.

Over 50,000 rows its bfloat16 gradient of the bias is off by most of itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from normzoo.kernels.forms import NARROW, as_rows, channels_innermost
from normzoo.kernels.parts import Scratch, parts


def takes(x: Tensor) -> bool:
    """Tell whether x [N, C, *space] is narrow, with its channels innermost, on a CPU."""
    return x.device.type == "cpu" and x.dtype in NARROW and x.numel() > 0 and channels_innermost(x)


def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Give the normalized x [N, C, *space], and mean and 1/√(var + eps) of every position [N, S, 1]; all but y wide."""
    rows, y = as_rows(x), torch.empty_like(x)
    found, mean, scale = torch.native_layer_norm(rows, [x.shape[1]], weight, bias, eps)
    as_rows(y).copy_(found)
    return y, mean, scale


def backward(gradient: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of x, weight and bias; the gradient has the memory layout of x."""
    rows, g = as_rows(x), as_rows(gradient)
    channels, of_x = x.shape[1], torch.empty_like(x)
    zero = torch.zeros_like(weight)
    found, *_ = torch.ops.aten.native_layer_norm_backward.default(
        g, rows, [channels], mean, scale, weight, zero, [True, False, False]
    )
    as_rows(of_x).copy_(found)
    return of_x, *_of_parameters(g, rows, mean, scale)


def _of_parameters(g: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Give Σ g·x̂ and Σ g over all rows of x [N, S, C], in float32."""
    of_weight, of_bias = torch.zeros(2, x.shape[2])
    scratch = Scratch(2, x.shape[2], torch.float32)
    for some, there in parts(len(x), x.shape[2], x.shape[1]):
        wide = scratch.wide(0, g[some, there])
        of_bias += wide.sum((0, 1))
        normalized = scratch.wide(1, x[some, there]).sub_(mean[some, there]).mul_(scale[some, there])
        of_weight += normalized.mul_(wide).sum((0, 1))
    return of_weight, of_bias
