"""The normalizers once more in float64 numpy, straight from the papers and with no kernel of torch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _spread(per_channel: Array, x: Array) -> Array:
    return per_channel.reshape(1, -1, *[1] * (x.ndim - 2))


def _affine(normalized: Array, weight: Array, bias: Array) -> Array:
    return normalized * _spread(weight, normalized) + _spread(bias, normalized)


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance [C] of x [N, C, *space] over batch and space (Ioffe & Szegedy 2015, algorithm 1)."""
    axes = (0, *range(2, x.ndim))
    mean = x.mean(axes)
    return mean, ((x - _spread(mean, x)) ** 2).mean(axes)


def batch_norm(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    """Ioffe & Szegedy 2015, algorithm 1."""
    mean, var = batch_moments(x)
    return _affine((x - _spread(mean, x)) / _spread(np.sqrt(var + eps), x), weight, bias)


def group_norm(x: Array, groups: int, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    """Wu & He 2018, equation 7: one loop turn per set of pixels that share a statistic."""
    y, size = np.empty_like(x), x.shape[1] // groups
    for sample in range(x.shape[0]):
        for group in range(groups):
            values = x[sample, group * size : (group + 1) * size]
            y[sample, group * size : (group + 1) * size] = (values - values.mean()) / np.sqrt(values.var() + eps)
    return _affine(y, weight, bias)


def layer_norm(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    """Ba et al. 2016, equation 3, over all of a sample's channels and positions."""
    values = x.reshape(len(x), -1)
    y = (values - values.mean(1, keepdims=True)) / np.sqrt(values.var(1, keepdims=True) + eps)
    return _affine(y.reshape(x.shape), weight, bias)


def layer_norm_channels(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    """Ba et al. 2016, equation 3, over the channels of each position."""
    y = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps)
    return _affine(y, weight, bias)


@dataclass
class BatchRenorm:
    """Ioffe 2017, algorithm 1, with the moving statistics μ and σ (a standard deviation) as state."""

    channels: int
    eps: float = 1e-5
    momentum: float = 0.01
    mean: Array = field(init=False)
    std: Array = field(init=False)

    def __post_init__(self) -> None:
        self.mean, self.std = np.zeros(self.channels), np.ones(self.channels)

    def train(self, x: Array, weight: Array, bias: Array, r_max: float = 3.0, d_max: float = 5.0) -> Array:
        mean, var = batch_moments(x)
        std = np.sqrt(var + self.eps)
        r = np.clip(std / self.std, 1 / r_max, r_max)
        d = np.clip((mean - self.mean) / self.std, -d_max, d_max)
        normalized = (x - _spread(mean, x)) / _spread(std, x) * _spread(r, x) + _spread(d, x)
        self.mean += self.momentum * (mean - self.mean)
        self.std += self.momentum * (std - self.std)
        return _affine(normalized, weight, bias)

    def infer(self, x: Array, weight: Array, bias: Array) -> Array:
        return _affine((x - _spread(self.mean, x)) / _spread(self.std, x), weight, bias)


def batch_renorm_gradients(
    x: Array, g: Array, weight: Array, r: Array, d: Array, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Gradients of loss by x, weight and bias as the paper's section 3 writes them out; g is that by the output.

    The chain goes through x̂, σ_B and μ_B one by one; r and d are constants.
    """
    axes = (0, *range(2, x.ndim))
    n = x.size / x.shape[1]
    mean, var = batch_moments(x)
    std, centred = np.sqrt(var + eps), x - _spread(mean, x)
    normalized = centred / _spread(std, x)
    by_normalized = g * _spread(weight, x) * _spread(r, x)
    by_std = (by_normalized * centred).sum(axes) * -1 / std**2
    by_mean = by_normalized.sum(axes) * -1 / std
    by_x = (
        by_normalized / _spread(std, x) + _spread(by_std, x) * centred / (n * _spread(std, x)) + _spread(by_mean, x) / n
    )
    by_weight = (g * (normalized * _spread(r, x) + _spread(d, x))).sum(axes)
    return by_x, by_weight, g.sum(axes)
