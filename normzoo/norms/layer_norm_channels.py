"""Layer normalization over the channels of each position, as transformers and ConvNeXt have it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normzoo.kernels.layers import layer_norm_channels
from normzoo.norms._common import TooFewValuesError, check_channels
from normzoo.registry import register


@register("layer_norm_channels", paper="arXiv:1607.06450", year=2016, pools={"channel"})
class LayerNormChannels(nn.Module):
    """Layer normalization over the channels of each position (Ba et al. 2016).

    As transformers and ConvNeXt (arXiv:2201.03545) have it.
    Shapes: x is [N, C, *space] with 0 to 3 space axes; the result has its shape, dtype and memory layout.

    Raises:
        TooFewValuesError: with a single channel, at construction.

    """

    def __init__(self, num_features: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        if num_features < 2:
            raise TooFewValuesError(f"a statistic over the channels needs 2 of them, got {num_features}")
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space]."""
        check_channels(x, self.weight.shape[0])
        return layer_norm_channels(x, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Show channels and eps."""
        return f"{self.weight.shape[0]}, eps={self.eps}"
