"""What ranks' images, or those of a stream, have been through: rotated, inverted, noisy, blurred, paler.

Images are uint8 [n, C, H, W] and stay so. torchvision does it; noise is drawn here, from a seed on the CPU, so that it
is the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normzoo_bench.options import Known, number, read
from normzoo_bench.seeds import torch_seed
from normzoo_bench.splits.ownership import ALL, SPLITS
from normzoo_suites.settings import AccuracySettings

NOISE = 0.1  # the largest variance of noise, of pixels in 0…1, as in NIID-Bench
BLUR = 1 / 16  # the largest deviation of a blur, as a share of an image's edge, but at least 1 pixel: 2 pixels of 32
CHUNK = 1000  # images whose pixels are floats at once

CORRUPTIONS: Known = {
    "none": {},
    "noise": {"level": number(0.1, most=10)},
    "blur": {"radius": number(1.0, most=100)},
    "contrast": {"factor": number(0.5, most=10, least=0)},
    "brightness": {"factor": number(0.5, most=10, least=0)},
    "inversion": {},
    "rotation": {"degrees": number(30, most=360, least=-360)},
}


class Shift(NamedTuple):
    """What happens to images: ``amount`` in degrees, or the noise's or the blur's deviation, or a factor."""

    kind: str
    amount: float = 0.0


def shift_of(settings: AccuracySettings, rank: int) -> Shift | None:
    """Give what a rank's images go through under the split ``features``; None leaves them, as rank 0's.

    ``features(kind=rotation)``: rank r of W is rotated by r · 360° / W (of 4 ranks by quarters, as in Ghosh et al.
    2020, arXiv:2006.04088). ``noise``: Gaussian, of variance r / (W − 1) · 0.1 for pixels in 0…1 (after the noise-based
    imbalance of NIID-Bench, arXiv:2102.02079). ``blur``: Gaussian, of deviation r / (W − 1) times 1/16 of the edge, or
    times 1 pixel where that is more. ``inversion``: every other rank's colours are inverted, from rank 1 on.
    ``features`` goes through rotation, inversion, noise and blur from rank 1 to rank 4 and again from rank 5 on, the
    amounts rising in as many steps as there are rounds.
    """
    kind = str(read("split", settings.split, SPLITS).options["kind"])
    kinds = ("rotation", "inversion", "noise", "blur")
    if rank == 0:
        return None
    if kind == "inversion":
        return Shift(kind) if rank % 2 else None
    if kind != ALL:
        return _risen(kind, rank, settings.ranks - 1)
    return _risen(kinds[(rank - 1) % 4], (rank - 1) // 4 + 1, -(-(settings.ranks - 1) // 4))


def _risen(kind: str, step: int, steps: int) -> Shift:
    """Give the amount of a kind that is reached in one of so many steps."""
    share = step / steps
    amounts = {"rotation": 360 * step / (steps + 1), "noise": (NOISE * share) ** 0.5, "blur": BLUR * share}
    return Shift(kind, amounts.get(kind, 0.0))


def shifted(settings: AccuracySettings, images: Tensor, ranks: NDArray[np.int64], part: str = "training") -> Tensor:
    """Shift images as those of the ranks [n] that they belong to; −1 belongs to none.

    ``part`` is the name of the part that they are of: each has noise of its own.
    """
    moved = images.clone()
    for rank in range(settings.ranks):
        shift = shift_of(settings, rank)
        own = torch.from_numpy(np.flatnonzero(ranks == rank)).to(images.device)
        if shift is None or not len(own):
            continue
        if shift.kind == "blur":
            shift = Shift("blur", shift.amount * max(1 / BLUR, *images.shape[2:]))
        moved[own] = _apply(shift, images[own], torch_seed(settings.seed, f"noise on the {part} images of {rank}"))
    return moved


def corrupted(text: str, images: Tensor, seed: int) -> Tensor:
    """Corrupt images by one of these.

    ``none``; ``noise(level=0.1)``, Gaussian of this deviation for pixels in 0…1; ``blur(radius=1)``, Gaussian of this
    deviation in pixels; ``contrast(factor=0.5)``, the distance to an image's mean grey times the factor;
    ``brightness(factor=0.5)``, pixels times the factor; ``inversion``, of the colours; ``rotation(degrees=30)``,
    counterclockwise, with black corners. What leaves 0…255 is cut off.

    Raises:
        UsageError: for one that does not exist, or an option that it does not have or take.

    """
    call = read("corruption", text, CORRUPTIONS)
    if call.name == "none":
        return images
    return _apply(Shift(call.name, *map(float, call.options.values())), images, torch_seed(seed, "noise of corruption"))


def check_corruption(text: str) -> None:
    """Require a corruption that exists, with options that it takes; raises UsageError."""
    read("corruption", text, CORRUPTIONS)


def _apply(shift: Shift, images: Tensor, seed: int) -> Tensor:
    drawn = torch.Generator().manual_seed(seed)
    return torch.cat([_kinds()[shift.kind](some, shift.amount, drawn) for some in images.split(CHUNK)])


def _kinds() -> dict[str, Callable[[Tensor, float, torch.Generator], Tensor]]:
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    return {
        "rotation": lambda images, degrees, _: F.rotate(images, degrees, InterpolationMode.BILINEAR),
        "inversion": lambda images, _, __: F.invert(images),
        "contrast": lambda images, factor, _: F.adjust_contrast(images, factor),
        "brightness": lambda images, factor, _: F.adjust_brightness(images, factor),
        "blur": lambda images, radius, _: F.gaussian_blur(images, _window(images, radius), [radius]),
        "noise": _noisy,
    }


def _window(images: Tensor, radius: float) -> list[int]:
    """Give the blur's window, width and height: three deviations to each side, as far as an image reaches."""
    return [2 * min(int(np.ceil(3 * radius)), edge - 1) + 1 for edge in (images.shape[3], images.shape[2])]


def _noisy(images: Tensor, level: float, drawn: torch.Generator) -> Tensor:
    noise = torch.randn(images.shape, generator=drawn).to(images.device)
    return (images + 255 * level * noise).round().clamp(0, 255).to(torch.uint8)
