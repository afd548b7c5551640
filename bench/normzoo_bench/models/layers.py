"""What several families of convolutional nets share."""

from __future__ import annotations

from torch import nn


def conv3x3(wide_in: int, wide: int, stride: int = 1) -> nn.Conv2d:
    """Make a 3×3 convolution that keeps the size at stride 1; it has no bias, since a norm layer follows."""
    return nn.Conv2d(wide_in, wide, 3, stride, padding=1, bias=False)


def draw_as_he(model: nn.Module) -> None:
    """Draw every convolution's weights with variance 2/fan_out, as He et al. 2015 do (arXiv:1502.01852, eq. 14)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
