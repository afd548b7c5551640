"""Normalizers in plain autograd that keep their contract; liars derive from them, and lie in one thing only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

import normzoo


def wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def moments(x: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    mean = wide(x).mean(axes, keepdim=True)
    return (wide(x) - mean).square().mean(axes, keepdim=True), mean


def spread(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.view(1, -1, *[1] * (x.dim() - 2))


class Honest(nn.Module):
    """Instance normalization that keeps its contract."""

    def __init__(self, num_features: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor) -> Tensor:
        self.refuse(x)
        return self.normalize(x, *self.statistics(x))

    def refuse(self, x: Tensor) -> None:
        if x.shape[1] != len(self.weight) or math.prod(x.shape[2:]) < 2:
            raise ValueError("refused")

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return moments(x, list(range(2, x.dim())))

    def normalize(self, x: Tensor, var: Tensor, mean: Tensor) -> Tensor:
        y = (wide(x) - mean) * torch.rsqrt(var + self.eps) * spread(self.weight, x) + spread(self.bias, x)
        return y.to(x.dtype)


class HonestMoving(Honest):
    """Batch normalization that keeps its contract."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, *, momentum: float = 0.1) -> None:
        super().__init__(num_features)
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def refuse(self, x: Tensor) -> None:
        if x.shape[1] != len(self.weight) or (self.training and x.numel() < 2 * x.shape[1]):
            raise ValueError("refused")

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            return spread(self.running_var, x).clone(), spread(self.running_mean, x).clone()
        var, mean = moments(x, [0, *range(2, x.dim())])
        self.move(var.detach().flatten(), mean.detach().flatten(), x.dtype)
        return var, mean

    def move(self, var: Tensor, mean: Tensor, dtype: torch.dtype) -> None:
        self.write(self.num_batches_tracked, self.num_batches_tracked + 1)
        self.write(self.running_mean, self.running_mean.lerp(mean, self.momentum))
        self.write(self.running_var, self.running_var.lerp(var, self.momentum))

    def write(self, buffer: Tensor, value: Tensor) -> None:
        normzoo.move_once(buffer, value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        with normzoo.keep_buffers_wide(self):
            return super()._apply(fn, recurse)
