"""No normalization: the control."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normzoo.kernels.forms import like_input
from normzoo.norms._common import check_channels
from normzoo.registry import register


@register("none", paper="none", year=None, pools=set())
class NoNorm(nn.Module):
    """A learned weight and bias per channel, no statistics: the control.

    What is left of a norm layer without its norm.
    Shapes: x is [N, C, *space] with 0 to 3 space axes; the result has its shape, dtype and memory layout.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift x [N, C, *space]."""
        check_channels(x, self.weight.shape[0])
        shape = (1, -1, *[1] * (x.dim() - 2))
        y = torch.addcmul(self.bias.to(x.dtype).view(shape), x, self.weight.to(x.dtype).view(shape))
        return like_input(y, x)
