"""Shifted and corrupted images, against numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from normzoo_bench import splits
from normzoo_bench.errors import UsageError
from normzoo_bench.splits.shifts import shift_of

CORRUPTIONS = [
    "noise",
    "blur",
    "contrast",
    "brightness",
    "inversion",
    "rotation",
    "blur(radius=50)",
    "rotation(degrees=-7)",
]


@pytest.fixture(scope="module")
def photos():
    """Smooth pictures, 3×32×32, so that interpolation has something to work on."""
    noise = np.random.default_rng(0).uniform(0, 255, (12, 3, 32, 32))
    smooth = gaussian_filter(noise, (0, 0, 3, 3), mode="wrap")
    return torch.from_numpy(((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8))


@pytest.fixture(scope="module")
def both(photos, digits):
    return {"photos": photos, "digits": digits.train.images[:12]}


@pytest.mark.parametrize("which", ["photos", "digits"])
@pytest.mark.parametrize("text", CORRUPTIONS)
def test_a_corruption_changes_pixels_and_neither_shape_nor_type_nor_what_it_was_given(both, which, text):
    images = both[which]
    before = images.clone()
    found = splits.corrupted(text, images, 0)
    assert (found.shape, found.dtype) == (images.shape, torch.uint8)
    assert not torch.equal(found, images)
    assert torch.equal(images, before)
    assert torch.equal(found, splits.corrupted(text, images, 0))


def test_no_corruption_is_none(photos):
    assert torch.equal(splits.corrupted("none", photos, 0), photos)


def test_a_quarter_turn_is_numpys(photos):
    assert np.array_equal(splits.corrupted("rotation(degrees=90)", photos, 0), np.rot90(photos, axes=(2, 3)))


def test_inversion_contrast_and_brightness_are_what_their_names_say(photos):
    pixels = photos.numpy().astype(float)
    assert np.array_equal(splits.corrupted("inversion", photos, 0), 255 - pixels)
    assert splits.corrupted("brightness(factor=0.25)", photos, 0).numpy() == pytest.approx(pixels / 4, abs=1)
    grey = (pixels * np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(1).mean((1, 2)).reshape(-1, 1, 1, 1)
    assert splits.corrupted("contrast(factor=0.5)", photos, 0).numpy() == pytest.approx((pixels + grey) / 2, abs=2)


@pytest.mark.parametrize("radius", [0.5, 1, 3])
def test_blur_is_a_gaussian_filter_of_that_deviation(photos, radius):
    blurred = gaussian_filter(photos.numpy().astype(float), (0, 0, radius, radius), mode="mirror", truncate=3.4)
    assert splits.corrupted(f"blur(radius={radius})", photos, 0).numpy() == pytest.approx(blurred, abs=3)


def test_noise_has_its_level_and_is_another_in_every_image_and_under_every_seed():
    grey = torch.full((50, 3, 16, 16), 128, dtype=torch.uint8)
    noise = splits.corrupted("noise(level=0.05)", grey, 0).double() - 128
    assert noise.std() == pytest.approx(0.05 * 255, rel=0.03)
    assert abs(noise.mean()) < 0.5
    assert np.abs(np.corrcoef(noise.flatten(1)) - np.eye(50)).max() < 0.2
    assert not torch.equal(noise, splits.corrupted("noise(level=0.05)", grey, 1).double() - 128)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nois", "unknown corruption 'nois'; did you mean 'noise'"),
        ("inversion(level=1)", "corruption inversion has no options"),
        ("noise(level=-1)", "level of the corruption noise must be a number above 0 up to 10, got -1"),
        ("contrast(level=1)", "unknown option 'level' of the corruption contrast; known: factor"),
    ],
)
def test_a_corruption_that_is_not_says_which_there_are(text, message):
    with pytest.raises(UsageError, match=message):
        splits.check_corruption(text)


def test_an_order_that_is_not_says_which_there_are():
    with pytest.raises(UsageError, match="unknown stream 'drift'; did you mean 'drifting'"):
        splits.check_order("drift")


def test_every_rank_of_a_feature_shift_has_its_own_and_rank_0_none(settings):
    for split in ("features", "features(kind=rotation)", "features(kind=noise)", "features(kind=blur)"):
        given = settings(split=split, ranks=8)
        amounts = [shift_of(given, rank) for rank in range(8)]
        assert amounts[0] is None
        kinds = [one.kind for one in amounts[1:]]
        assert kinds == (["rotation", "inversion", "noise", "blur"] * 2)[:7] or len(set(kinds)) == 1
        alike = 2 if split == "features" else 1  # inversion has no amount
        assert len(set(amounts)) == 9 - alike


def test_ranks_of_four_are_rotated_by_quarters(settings, photos):
    ranks = np.array([0, 1, 2, 3] * 3)
    found = splits.shifted(settings(split="features(kind=rotation)", ranks=4), photos, ranks)
    for image, rank, was in zip(found, ranks, photos, strict=True):
        assert np.array_equal(image, np.rot90(was, k=rank, axes=(1, 2)))


def test_the_strongest_noise_and_blur_are_as_documented(settings, both):
    """Variance 0.1 of pixels in 0…1; a sixteenth of the edge, but a pixel at least."""
    grey = torch.full((60, 1, 32, 32), 128, dtype=torch.uint8)
    noisy = splits.shifted(settings(split="features(kind=noise)", ranks=2), grey, np.arange(60) % 2)
    assert torch.equal(noisy[0::2], grey[0::2])
    share_of_extremes = np.mean(np.isin(noisy[1::2].numpy(), (0, 255)))
    assert share_of_extremes == pytest.approx(0.113, abs=0.01)  # |N(0, 1)| > 0.5 / √0.1 = 1.58
    given = settings(split="features(kind=blur)", ranks=2)
    for images, pixels in ((both["photos"], 2), (both["digits"], 1)):
        blurred = splits.shifted(given, images, np.ones(12, np.int64))
        assert torch.equal(blurred, splits.corrupted(f"blur(radius={pixels})", images, 0))


@pytest.mark.parametrize("which", ["photos", "digits"])
@pytest.mark.parametrize("split", ["features", "features(kind=inversion)"])
def test_only_a_ranks_own_images_are_shifted(settings, both, which, split):
    images = both[which]
    given = settings(split=split, ranks=6, batch_size=60)
    ranks = np.array([-1, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4])
    found = splits.shifted(given, images, ranks)
    assert (found.shape, found.dtype) == (images.shape, torch.uint8)
    assert torch.equal(found, splits.shifted(given, images, ranks))
    for image, rank, was in zip(found, ranks, images, strict=True):
        unshifted = rank < 1 or (split != "features" and rank % 2 == 0)
        assert torch.equal(image, was) == unshifted
    inverted = ranks == 2 if split == "features" else ranks % 2 == 1
    inverted &= ranks > 0
    assert torch.equal(found[inverted], 255 - images[inverted])
