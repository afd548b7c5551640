"""Labelled images in parts: what each seed trains on and is tested on, whether they are decoded already or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor

from normzoo_bench.errors import UsageError
from normzoo_bench.seeds import stream

TEST_SHARE = 0.2


class Part(Protocol):
    """Images and their labels, int64 [n]."""

    @property
    def labels(self) -> Tensor:
        """The label of each image."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image, as a model gets it."""

    def take(self, positions: NDArray[np.int64] | None) -> Self:
        """Give the images at these positions; None is all of them."""


@dataclass(frozen=True)
class Images:
    """Decoded images: ``images`` is uint8 [n, C, H, W], ``labels`` int64 [n]."""

    images: Tensor
    labels: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def take(self, positions: NDArray[np.int64] | None) -> Images:
        """Copy the images at these positions; None is all of them, uncopied."""
        if positions is None:
            return self
        index = torch.from_numpy(positions)
        return Images(self.images[index], self.labels[index])


P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Parted(Generic[P]):
    """A data set; ``test`` is None where it has one labelled part only, which each seed then splits anew."""

    train: P
    test: P | None
    classes: int
    fingerprint: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.train.shape

    def check(self, name: str) -> None:
        """Require that a seed can split the set, where it must; ``name`` is what the error calls it.

        Raises:
            UsageError: when a class has one image, or the test part would be smaller than the number of classes.

        """
        if self.test:
            return
        counts = np.bincount(self.train.labels.numpy())
        if 1 in counts:
            raise UsageError(
                f"{name} has no labelled test part, and only one image of class {counts.tolist().index(1)}, which no "
                "seed can have in both its training and its test part; leave the class out, or add a test part"
            )
        tested, present = _test_count(int(counts.sum())), np.count_nonzero(counts)
        if tested < present:
            raise UsageError(
                f"{name} has no labelled test part, and a fifth of its {counts.sum()} images, which a seed tests on, "
                f"is fewer than its {present} classes; use more images, or add a test part"
            )

    def trained_classes(self) -> int:
        """Count the classes that occur in the training part at all."""
        return int(np.count_nonzero(np.bincount(self.train.labels.numpy())))

    def test_size(self) -> int:
        """Count the test samples that a seed has."""
        return len(self.test.labels) if self.test else _test_count(len(self.train.labels))

    def train_size(self) -> int:
        """Count the training samples that a seed can have."""
        count = len(self.train.labels)
        return count if self.test else count - _test_count(count)

    def parts(self, seed: int, train_samples: int | str, evaluate_on: str = "test") -> tuple[P, P]:
        """Give one seed's training part and the part it is tested on; ``train_samples`` are drawn from the first.

        ``evaluate_on = "validation"`` holds a part of the training part out, a fifth as large as what is trained on.
        """
        train, held = self._positions(seed, train_samples, evaluate_on)
        return self.train.take(train), self.train.take(held) if held is not None or not self.test else self.test

    def kept(self, train_samples: int | str, evaluate_on: str = "test") -> int:
        """Count the samples that a seed trains on."""
        have = self.train_size()
        wanted = have if train_samples == "all" else int(train_samples)
        return min(wanted, have - _held_out(wanted)) if evaluate_on == "validation" else wanted

    def present_classes(self, seed: int, train_samples: int | str, evaluate_on: str = "test") -> int:
        """Count the classes that occur in one seed's training part; reads no images."""
        return len(np.unique(self.trained_labels(seed, train_samples, evaluate_on)))

    def trained_labels(self, seed: int, train_samples: int | str, evaluate_on: str = "test") -> NDArray[np.int64]:
        """Give the labels of one seed's training part, int64 [n]; reads no images."""
        train, _ = self._positions(seed, train_samples, evaluate_on)
        labels: NDArray[np.int64] = self.train.labels.numpy()
        return labels if train is None else labels[train]

    def _positions(
        self, seed: int, train_samples: int | str, evaluate_on: str
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
        """Give the positions in ``train`` of a seed's training part and of what is held out.

        None is all of them, or the test part, which is another.
        """
        train, test = (None, None) if self.test else _split(self.train.labels, seed)
        if train_samples == "all" and evaluate_on == "test":
            return train, test
        count = len(self.train.labels) if train is None else len(train)
        drawn = stream(seed, "train samples").permutation(count)
        kept = self.kept(train_samples, evaluate_on)
        held = drawn[kept : kept + _held_out(count if train_samples == "all" else int(train_samples))]
        chosen, held = np.sort(drawn[:kept]), np.sort(held)
        if train is not None:
            chosen, held = train[chosen], train[held]
        return chosen, held if evaluate_on == "validation" else test


def _held_out(count: int) -> int:
    """Count the samples that validate a training on so many."""
    return int(np.ceil(count * TEST_SHARE))


def _split(labels: Tensor, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    index = np.arange(len(labels))
    train, test = train_test_split(index, test_size=_test_count(len(index)), random_state=seed, stratify=labels.numpy())
    return train, test


def _test_count(count: int) -> int:
    return int(np.ceil(count * TEST_SHARE))


class DataSet(Parted[Images]):
    """A decoded data set."""
