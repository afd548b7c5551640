"""Augmentation on the device, from draws that follow from the seed alone and so are the same on every device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from normzoo_bench.errors import UsageError
from normzoo_bench.options import Known, read, whole

LARGEST_PADDING = 64


@dataclass(frozen=True)
class Augmentation:
    """Flips and crops; ``padding`` pixels of the mean colour on each side, of which a random window is kept.

    As He et al. 2016 (arXiv:1512.03385, section 4.2) augment CIFAR-10: padding 4 and flips.
    """

    padding: int
    flip: bool

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return self.flip or self.padding > 0

    def check_fits(self, shape: tuple[int, int, int]) -> None:
        """Require that every window keeps a part of its image; ``shape`` is [C, H, W].

        Raises:
            UsageError: for a padding that is as wide as the image or wider.

        """
        side = min(shape[1:])
        if self.padding >= side:
            allowed = f"the largest is {side - 1}" if side > 1 else "none fits, so use flip"
            raise UsageError(
                f"crop_flip(padding={self.padding}) would cut windows without a pixel of images of "
                f"{shape[1]}×{shape[2]}; {allowed}"
            )

    def draw(self, draw: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Draw for so many images: [count, 3], the window's row, its column, and whether it is flipped."""
        window = draw.integers(0, 2 * self.padding + 1, (count, 2))
        flip = draw.integers(0, 2, (count, 1)) if self.flip else np.zeros((count, 1), np.int64)
        return np.concatenate([window, flip], axis=1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Augment standardized images [N, C, H, W] by draws [N, 3]; the memory layout stays."""
        if not self.changes:
            return images
        rows, columns = self._window(images, drawn)
        padded = F.pad(images, (self.padding,) * 4) if self.padding else images
        number = torch.arange(len(images), device=images.device)
        # rows and columns differ between images, so that the last axes are picked together: [N, H, W, C]
        picked = padded.movedim(1, -1)[number[:, None, None], rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
        last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
        return picked.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    def _window(self, images: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Give the rows [N, H] and the columns [N, W] of the padded images that are kept, columns flipped already."""
        height, width = images.shape[2:]
        rows = drawn[:, :1] + torch.arange(height, device=images.device)
        ahead = torch.arange(width, device=images.device)
        columns = drawn[:, 1:2] + torch.where(drawn[:, 2:] == 1, width - 1 - ahead, ahead)
        return rows, columns


_KNOWN: Known = {"none": {}, "flip": {}, "crop_flip": {"padding": whole(4, most=LARGEST_PADDING)}}


def augmentation(text: str) -> Augmentation:
    """Give the augmentation that a setting names.

    Raises:
        UsageError: for an unknown one, or an option that it does not have or take.

    """
    call = read("augmentation", text, _KNOWN)
    return Augmentation(padding=int(call.options.get("padding", 0)), flip=call.name != "none")
