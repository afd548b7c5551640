"""Layer normalization over channels and space, as conv nets are compared with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normzoo.kernels.groups import group_norm
from normzoo.norms._common import check_channels, check_sample_values
from normzoo.registry import register


@register("layer_norm", paper="arXiv:1607.06450", year=2016, pools={"channel", "space"})
class LayerNorm(nn.Module):
    """Layer normalization over channels and space (Ba et al. 2016).

    A weight and bias per channel.
    Shapes: x is [N, C, *space] with 0 to 3 space axes; the result has its shape, dtype and memory layout.
    This is Wu & He's (2018) reading for conv nets: one-group group norm. Transformers and ConvNeXt normalize C at each
    position instead: ``layer_norm_channels``. Without space axes the two are the same.

    Raises:
        TooFewValuesError: with fewer than 2 values per sample.

    """

    def __init__(self, num_features: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space]."""
        check_channels(x, self.weight.shape[0])
        check_sample_values(x, x.shape[1])
        return group_norm(x, 1, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Show channels and eps."""
        return f"{self.weight.shape[0]}, eps={self.eps}"
