"""Layer norm over channels in every memory layout: torch's kernel where it is fast and right, else one of ours."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from normzoo.kernels import cpu_layers, cpu_rows
from normzoo.kernels.choose import is_transformed, on_cuda_with_triton
from normzoo.kernels.forms import for_kernel, like_input, wide_dtype


def layer_norm_channels(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalize x [N, C, *space] over the channels of each position; the result has its dtype and memory layout.

    weight and bias are [C].
    """
    kernel = _kernel(x)
    if kernel is not None:
        y: Tensor = _LayerNorm.apply(x, weight.to(wide_dtype(x)), bias.to(wide_dtype(x)), eps, kernel)
        return y
    # on CPUs it adds up the gradients of weight and bias in the type of x
    values = x.to(wide_dtype(x)) if x.device.type == "cpu" else x
    return like_input(_by_torch(values, for_kernel(weight, values), for_kernel(bias, values), eps), x)


def _by_torch(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x.movedim(1, -1), (x.shape[1],), weight, bias, eps).movedim(-1, 1)


def _kernel(x: Tensor) -> ModuleType | None:
    """Choose the module that has forward and backward for x, if torch's kernel should not do it."""
    if is_transformed():
        return None
    if on_cuda_with_triton(x) and x.dim() > 2 and x.is_contiguous():
        from normzoo.kernels import triton_layer  # only where there is a GPU

        return triton_layer
    return next((kernel for kernel in (cpu_layers, cpu_rows) if kernel.takes(x)), None)


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, kernel: ModuleType) -> Tensor:
        y, mean, scale = kernel.forward(x, weight, bias, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.eps, ctx.kernel = eps, kernel
        return y  # type: ignore[no-any-return]  # a module's function is untyped

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of the gradient is wanted
            return *_differentiable(gradients[0], x, weight, ctx.eps), None, None
        return *ctx.kernel.backward(like_input(gradients[0], x), x, mean, scale, weight), None, None


def _differentiable(gradient: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():
        given = (x, weight, torch.zeros_like(weight))
        values, scale, shift = (one if one.requires_grad else one.detach().requires_grad_() for one in given)
        y = _by_torch(values.to(weight.dtype), scale, shift, eps)
        return torch.autograd.grad(y, (values, scale, shift), gradient.to(y.dtype), create_graph=True)
