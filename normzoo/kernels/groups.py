"""Group norm in every memory layout: torch's kernel where it is stable and fast, one of ours where it is not."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from normzoo.kernels import cpu_groups
from normzoo.kernels.choose import is_transformed, on_cuda_with_triton
from normzoo.kernels.forms import channels_innermost, for_kernel, like_input, wide_dtype


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalize x [N, C, *space] over groups of channels and space; the result has its dtype and memory layout.

    weight and bias are [C]. Stable in every layout: torch's kernels for channels_last take E[x²] − E[x]².
    """
    kernel = _kernel(x)
    if kernel is not None:
        y: Tensor = _GroupNorm.apply(x, weight.to(wide_dtype(x)), bias.to(wide_dtype(x)), groups, eps, kernel)
        return y
    y = F.group_norm(x.contiguous(), groups, for_kernel(weight, x), for_kernel(bias, x), eps)
    return like_input(y, x)


def _kernel(x: Tensor) -> ModuleType | None:
    """Choose the module that has forward and backward for x, if torch's kernel should not do it."""
    if is_transformed():
        return None
    if on_cuda_with_triton(x) and x.dim() > 2 and channels_innermost(x):
        from normzoo.kernels import triton_groups  # only where there is a GPU

        return triton_groups
    return cpu_groups if cpu_groups.takes(x) else None


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, kernel: ModuleType
    ) -> Tensor:
        y, mean, scale = kernel.forward(x, groups, weight, bias, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.groups, ctx.eps, ctx.kernel = groups, eps, kernel
        return y  # type: ignore[no-any-return]  # a module's function is untyped

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of the gradient is wanted
            return *_differentiable(gradients[0], x, weight, ctx.groups, ctx.eps), None, None, None
        gradient = like_input(gradients[0], x)
        return *ctx.kernel.backward(gradient, x, mean, scale, weight, ctx.groups), None, None, None


def _differentiable(gradient: Tensor, x: Tensor, weight: Tensor, groups: int, eps: float) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():
        given = (x, weight, torch.zeros_like(weight))
        values, scale, shift = (one if one.requires_grad else one.detach().requires_grad_() for one in given)
        y = F.group_norm(values.to(weight.dtype).contiguous(), groups, scale, shift, eps)
        return torch.autograd.grad(y, (values, scale, shift), gradient.to(y.dtype), create_graph=True)
