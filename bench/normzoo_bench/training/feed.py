"""Images that lie on the device, as uint8, and are standardized batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from normzoo_bench.data import Images


@dataclass(frozen=True)
class Feed:
    """Images on the device, uint8 [n, C, H, W], given out as float32 of mean 0 and deviation 1 per channel."""

    images: Tensor
    labels: Tensor
    mean: Tensor  # [1, C, 1, 1], of pixels in 0…255
    deviation: Tensor  # likewise
    layout: torch.memory_format = torch.contiguous_format
    effects: Tensor | None = None  # [n, 2], scale and shift of each standardized image

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Give images [N, C, H, W], in the memory layout that is asked for, and labels [N]."""
        images = (self.images[index].float() - self.mean) / self.deviation
        if self.effects is not None:
            images = affect(images, self.effects[index])
        return images.contiguous(memory_format=self.layout), self.labels[index]

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)


def affect(images: Tensor, effects: Tensor) -> Tensor:
    """Scale and shift images [N, C, H, W] by effects [N, 2]; the memory layout stays."""
    scale, shift = (effects[:, one].view(-1, 1, 1, 1) for one in (0, 1))
    return images * scale + shift


def feeds(
    train: Images, test: Images, device: str, layout: torch.memory_format = torch.contiguous_format
) -> tuple[Feed, Feed]:
    """Put both parts on the device; both are standardized by the training part's statistics."""
    images = train.images.to(device)
    middle, width = _moments(images)
    parts = ((images, train.labels), (test.images.to(device), test.labels))
    first, second = (Feed(own, labels.to(device), middle, width, layout) for own, labels in parts)
    return first, second


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Give mean and standard deviation of uint8 [n, C, H, W] per channel, [1, C, 1, 1] each, summed up in float64."""
    sums = torch.zeros(2, images.shape[1], dtype=torch.float64, device=images.device)
    for some in images.split(1000):
        pixels = some.double()
        sums += torch.stack([pixels.sum((0, 2, 3)), pixels.square().sum((0, 2, 3))])
    mean, square = sums / images[:, 0].numel()
    deviation = (square - mean.square()).clamp(min=1e-6).sqrt()
    return mean.float().view(1, -1, 1, 1), deviation.float().view(1, -1, 1, 1)
