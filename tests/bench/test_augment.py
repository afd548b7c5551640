"""Augmentation on the device against torchvision, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as reference

from normzoo_bench.errors import UsageError
from normzoo_bench.training.augment import augmentation


def by_torchvision(images, drawn, padding):
    """Pad with zeros, crop a window, flip: one image at a time."""
    made = []
    for image, (row, column, flipped) in zip(images, drawn.tolist(), strict=True):
        window = reference.crop(reference.pad(image, [padding] * 4), row, column, *image.shape[1:])
        made.append(reference.hflip(window) if flipped else window)
    return torch.stack(made)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("text", "padding"), [("flip", 0), ("crop_flip", 4), ("crop_flip(padding=2)", 2)])
def test_every_image_is_cropped_and_flipped_as_torchvision_does_it(text, padding, layout):
    chosen = augmentation(text)
    images = torch.randn(64, 3, 8, 6).contiguous(memory_format=layout)
    drawn = torch.from_numpy(chosen.draw(np.random.default_rng(0), 64))
    made = chosen.apply(images, drawn)
    assert torch.equal(made, by_torchvision(images, drawn, padding))
    assert made.is_contiguous(memory_format=layout)


def test_without_augmentation_the_images_are_the_ones_given():
    images = torch.randn(2, 3, 8, 8)
    assert augmentation("none").apply(images, torch.zeros(2, 3, dtype=torch.int64)) is images


def test_windows_and_flips_are_drawn_evenly():
    drawn = augmentation("crop_flip(padding=1)").draw(np.random.default_rng(0), 9000)
    for column, kinds in ((0, 3), (1, 3), (2, 2)):
        counts = np.bincount(drawn[:, column], minlength=kinds)
        assert counts.shape == (kinds,)
        assert abs(counts - 9000 / kinds).max() < 4 * np.sqrt(9000 / kinds)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flop", "unknown augmentation 'flop'; did you mean 'flip'?"),
        ("flip(padding=4)", "augmentation flip has no options, got flip(padding=4)"),
        ("crop_flip(pad=4)", "unknown option 'pad' of the augmentation crop_flip; did you mean 'padding'"),
        ("crop_flip(padding=0)", "padding of the augmentation crop_flip must be a whole number from 1 to 64, got 0"),
        (
            "crop_flip(padding=1.5)",
            "padding of the augmentation crop_flip must be a whole number from 1 to 64, got 1.5",
        ),
    ],
)
def test_an_augmentation_that_there_is_not_is_told(text, said):
    with pytest.raises(UsageError) as caught:
        augmentation(text)
    assert said in str(caught.value)


def test_a_padding_as_wide_as_the_image_is_refused_with_the_largest_that_works():
    """Windows start anywhere in the padded image, so that with 7 of 8 pixels each keeps one row and column at least."""
    augmentation("crop_flip(padding=7)").check_fits((1, 8, 9))
    with pytest.raises(UsageError, match=r"crop_flip\(padding=8\) .* images of 8×9; the largest is 7"):
        augmentation("crop_flip(padding=8)").check_fits((1, 8, 9))
    with pytest.raises(UsageError, match="none fits, so use flip"):
        augmentation("crop_flip(padding=1)").check_fits((1, 1, 4))


@pytest.mark.parametrize("padding", [7, 8])
def test_only_with_a_padding_that_fits_every_window_holds_a_pixel(padding):
    images = torch.ones(1, 1, 8, 8)
    corner = torch.tensor([[0, 0, 0]])
    assert bool(augmentation(f"crop_flip(padding={padding})").apply(images, corner).any()) == (padding == 7)
