"""The normalizers once more in plain torch, as anyone would write them from the papers; float64 references, too.

Input narrower than float32 is widened first, and the result given in the input's type: in bfloat16 the sums would be
wrong. All take ``num_features`` and ``groups``, which only group norm needs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class _Affine(nn.Module):
    """Weight and bias per channel after what ``normalized`` gives."""

    def __init__(self, num_features: int, groups: int = 1) -> None:
        super().__init__()
        self.groups, self.eps = groups, 1e-5
        self.weight, self.bias = nn.Parameter(torch.ones(num_features)), nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space]."""
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        y = self.normalized(wide) * per_channel(self.weight, x) + per_channel(self.bias, x)
        return y.to(x.dtype)

    def normalized(self, x: Tensor) -> Tensor:
        """Give x̂ [N, C, *space]."""
        raise NotImplementedError


class Nothing(_Affine):
    """The zoo's ``none``: weight and bias alone."""

    def normalized(self, x: Tensor) -> Tensor:
        """Give x itself."""
        return x


class BatchNorm(_Affine):
    """Ioffe & Szegedy 2015, algorithm 1, with the unbiased variance in ``running_var``."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, groups: int = 1) -> None:
        super().__init__(num_features)
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def normalized(self, x: Tensor) -> Tensor:
        """Give x̂ by the batch, or in eval by the running statistics."""
        if not self.training:
            return _standardized(x, self.running_mean, torch.sqrt(self.running_var + self.eps))
        mean, var = _batch_moments(x)
        with torch.no_grad():
            count = x.numel() // x.shape[1]
            self.running_mean += 0.1 * (mean - self.running_mean)
            self.running_var += 0.1 * (var * (count / (count - 1)) - self.running_var)
        return _standardized(x, mean, torch.sqrt(var + self.eps))


class BatchRenorm(_Affine):
    """Ioffe 2017, algorithm 1: r_max 3, d_max 5, α 0.01."""

    running_mean: Tensor
    running_std: Tensor

    def __init__(self, num_features: int, groups: int = 1) -> None:
        super().__init__(num_features)
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_std", torch.ones(num_features))

    def normalized(self, x: Tensor) -> Tensor:
        """Give r·x̂ + d by the batch, or in eval x̂ by the moving statistics."""
        if not self.training:
            return _standardized(x, self.running_mean, self.running_std)
        mean, var = _batch_moments(x)
        std = torch.sqrt(var + self.eps)
        with torch.no_grad():
            r = (std / self.running_std).clamp(1 / 3, 3)
            d = ((mean - self.running_mean) / self.running_std).clamp(-5, 5)
            # new tensors: torch.compile recomputes r and d in backward, and would do so from statistics moved in place
            self.running_mean = self.running_mean + 0.01 * (mean - self.running_mean)
            self.running_std = self.running_std + 0.01 * (std - self.running_std)
        return _standardized(x, mean, std) * per_channel(r, x) + per_channel(d, x)


class GroupNorm(_Affine):
    """Wu & He 2018, equation 7."""

    def normalized(self, x: Tensor) -> Tensor:
        """Give x̂ by each sample's groups of channels."""
        parts = x.reshape(x.shape[0], self.groups, -1)  # [N, groups, values]
        mean, var = parts.mean(2, keepdim=True), parts.var(2, correction=0, keepdim=True)
        return ((parts - mean) / torch.sqrt(var + self.eps)).reshape(x.shape)


class LayerNorm(GroupNorm):
    """Ba et al. 2016, over channels and space: one group."""

    def __init__(self, num_features: int, groups: int = 1) -> None:
        super().__init__(num_features, 1)


class LayerNormChannels(_Affine):
    """Ba et al. 2016, over the channels of each position."""

    def normalized(self, x: Tensor) -> Tensor:
        """Give x̂ by each position's channels."""
        mean, var = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
        return (x - mean) / torch.sqrt(var + self.eps)


NAIVE: dict[str, Callable[[int, int], nn.Module]] = {
    "none": Nothing,
    "batch_norm": BatchNorm,
    "batch_renorm": BatchRenorm,
    "group_norm": GroupNorm,
    "layer_norm": LayerNorm,
    "layer_norm_channels": LayerNormChannels,
}


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """View [C] so that it broadcasts over x [N, C, *space]."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


def _batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    axes = [0, *range(2, x.dim())]
    return x.mean(axes), x.var(axes, correction=0)


def _standardized(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return (x - per_channel(mean, x)) / per_channel(std, x)
