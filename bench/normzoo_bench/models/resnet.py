"""The CIFAR nets of He et al. 2016 (arXiv:1512.03385, section 4.2), with parameter-free shortcuts, or plain without."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from normzoo_bench.models.layers import conv3x3, draw_as_he
from normzoo_bench.models.registry import Shape, register


@register("resnet8")
def resnet8(shape: Shape, classes: int) -> nn.Module:
    """The CIFAR ResNet of 8 layers: one block in each stage."""
    return CifarResNet(shape[0], classes, blocks=1)


@register("resnet20")
def resnet20(shape: Shape, classes: int) -> nn.Module:
    """The CIFAR ResNet of He et al. 2016 (arXiv:1512.03385, section 4.2) with 20 layers, parameter-free shortcuts."""
    return CifarResNet(shape[0], classes, blocks=3)


@register("resnet56")
def resnet56(shape: Shape, classes: int) -> nn.Module:
    """The same with 56 layers."""
    return CifarResNet(shape[0], classes, blocks=9)


@register("resnet110")
def resnet110(shape: Shape, classes: int) -> nn.Module:
    """The same with 110 layers."""
    return CifarResNet(shape[0], classes, blocks=18)


@register("plain8")
def plain8(shape: Shape, classes: int) -> nn.Module:
    """The weights of resnet8 without its shortcuts: He et al.'s plain net (arXiv:1512.03385, section 4.2)."""
    return CifarResNet(shape[0], classes, blocks=1, shortcuts=False)


@register("plain20")
def plain20(shape: Shape, classes: int) -> nn.Module:
    """The weights of resnet20 without its shortcuts."""
    return CifarResNet(shape[0], classes, blocks=3, shortcuts=False)


@register("plain56")
def plain56(shape: Shape, classes: int) -> nn.Module:
    """The weights of resnet56 without its shortcuts."""
    return CifarResNet(shape[0], classes, blocks=9, shortcuts=False)


@register("plain110")
def plain110(shape: Shape, classes: int) -> nn.Module:
    """The weights of resnet110 without its shortcuts."""
    return CifarResNet(shape[0], classes, blocks=18, shortcuts=False)


@register("resnet20_strided")
def resnet20_strided(shape: Shape, classes: int) -> nn.Module:
    """The weights of resnet20 behind a stem of stride 4, ImageNet's: of 32×32 pixels the last stage sees 2×2.

    A statistic over 2 samples sees 128, 32 and 8 values in the three stages, where in resnet20 it sees 2048, 512 and
    128; and a step costs a sixteenth. At 16×16 (``size=16``) it is 32, 8 and 2. Under one seed both have the same
    weights, so that a comparison of the two changes nothing but the number of positions.
    """
    return CifarResNet(shape[0], classes, blocks=3, imagenet_stem=True)


class CifarResNet(nn.Module):
    """ResNet for 32×32 images: three stages of 16, 32 and 64 channels, ``blocks`` each; depth is 6·blocks + 2.

    ``imagenet_stem`` gives the stem stride 2 and a 3×3 max pool of stride 2 after it, as the ImageNet ResNets have.
    Without ``shortcuts`` the same layers stand one after the other; under one seed the weights are the same.
    """

    def __init__(
        self, channels: int, classes: int, blocks: int, imagenet_stem: bool = False, shortcuts: bool = True
    ) -> None:
        super().__init__()
        stem = [conv3x3(channels, 16, 2 if imagenet_stem else 1), nn.BatchNorm2d(16), nn.ReLU()]
        self.stem = nn.Sequential(*stem, *([nn.MaxPool2d(3, 2, padding=1)] if imagenet_stem else []))
        layers, wide_in = [], 16
        for wide, stride in ((16, 1), (32, 2), (64, 2)):
            for index in range(blocks):
                layers.append(_Block(wide_in, wide, 1 if index else stride, shortcuts))
                wide_in = wide
        self.stages = nn.Sequential(*layers)
        self.head = nn.Linear(64, classes)
        draw_as_he(self)

    def forward(self, x: Tensor) -> Tensor:
        """Give logits [N, classes] for x [N, C, H, W]."""
        features: Tensor = self.stages(self.stem(x)).mean((2, 3))
        logits: Tensor = self.head(features)
        return logits


class _Block(nn.Module):
    def __init__(self, wide_in: int, wide: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv3x3(wide_in, wide, stride), nn.BatchNorm2d(wide)
        self.conv2, self.norm2 = conv3x3(wide, wide), nn.BatchNorm2d(wide)
        self.stride, self.more, self.shortcut = stride, wide - wide_in, shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if not self.shortcut:
            return F.relu(y)
        # option A: every second pixel, and zeros for the channels that are new
        shortcut = F.pad(
            x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2)
        )
        return F.relu(y + shortcut)
