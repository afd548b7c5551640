"""Group normalization: every sample by the mean and variance of groups of its channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normzoo.kernels.groups import group_norm
from normzoo.norms._common import check_channels, check_sample_values
from normzoo.registry import register


@register("group_norm", paper="arXiv:1803.08494", year=2018, pools={"group", "space"})
class GroupNorm(nn.Module):
    """Group normalization (Wu & He 2018, equation 7).

    Shapes: x is [N, C, *space] with 0 to 3 space axes; the result has its shape, dtype and memory layout.
    ``groups=None`` takes the largest divisor of C that is at most 32 and leaves at least 2 channels per group
    (16 → 8, 64 → 32, 13 → 1). Training and eval are the same.

    Raises:
        ValueError: when a given number of groups does not divide C.
        TooFewValuesError: with fewer than 2 values per group and sample.

    """

    def __init__(self, num_features: int, *, groups: int | None = None, eps: float = 1e-5) -> None:
        super().__init__()
        self.groups = _default_groups(num_features) if groups is None else _checked_groups(num_features, groups)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space]."""
        check_channels(x, self.weight.shape[0])
        check_sample_values(x, x.shape[1] // self.groups)
        return group_norm(x, self.groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Show groups and eps."""
        return f"{self.weight.shape[0]}, groups={self.groups}, eps={self.eps}"


def divisors(number: int) -> list[int]:
    """Give the divisors of a number, ascending."""
    return [d for d in range(1, number + 1) if number % d == 0]


def _default_groups(num_features: int) -> int:
    return max((d for d in divisors(num_features) if d <= 32 and num_features // d >= 2), default=1)


def _checked_groups(num_features: int, groups: int) -> int:
    if groups not in divisors(num_features):
        allowed = ", ".join(map(str, divisors(num_features)))
        raise ValueError(f"groups must divide the {num_features} channels, got {groups}; these do: {allowed}")
    return groups
