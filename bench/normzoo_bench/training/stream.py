"""Images that are decoded and augmented while a net is trained and tested, with timm's transforms and prefetching.

Nothing decoded is kept. Which sample comes when is told by the same order as for resident data, and each sample's
augmentation by a seed of its own, so that neither hangs on how many processes decode.

Every image is brought to a square of the data set's ``size``: its shorter edge is resized to it, and the middle kept
(timm's test transform with nothing cropped off a square). ``flip`` mirrors half of these; ``crop_flip`` is timm's
training transform instead, a crop of 8 to 100 % of the area, resized (Szegedy et al. 2014, arXiv:1409.4842), and
mirrored or not. Pixels are standardized by ImageNet's mean and deviation, timm's constants: the training part's own
would take an epoch of decoding.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from normzoo_bench import splits
from normzoo_bench.errors import UsageError
from normzoo_bench.seeds import stream
from normzoo_bench.streamed import DamagedImageError, Encoded, Rows
from normzoo_bench.training.augment import augmentation
from normzoo_bench.training.feed import Feed
from normzoo_suites import parse_call
from normzoo_suites.settings import AccuracySettings

Transform = Callable[[Image.Image], Tensor]
"""From an RGB picture of any size to uint8 [3, size, size]."""


class Draw(NamedTuple):
    """One image to be decoded: a row of a part, its label, and its augmentation with the seed of it."""

    part: int
    row: int
    label: int
    augment: str
    seed: int


def check_augment(text: str) -> None:
    """Require an augmentation that streamed images can have.

    Raises:
        UsageError: otherwise.

    """
    augmentation(text)
    if parse_call(text).options:
        raise UsageError(
            f'augment {text} pads resident images; with data = "stream", crop_flip is a crop of 8 to 100 % of the area '
            "without options: write crop_flip"
        )


@functools.lru_cache(maxsize=8)
def _transform(augment: str, size: int) -> Transform:
    from timm.data.transforms_factory import create_transform

    name = parse_call(augment).name
    if name == "crop_flip":
        drawn: Transform = create_transform(size, is_training=True, color_jitter=0.0, use_prefetcher=True)
        return drawn
    still: Transform = create_transform(size, crop_pct=1.0, use_prefetcher=True)
    return functools.partial(_flipped, still) if name == "flip" else still


def _flipped(still: Transform, picture: Image.Image) -> Tensor:
    pixels = still(picture)
    return pixels.flip(-1) if random.random() < 0.5 else pixels


@contextlib.contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Seed what transforms draw from, Python's and torch's generators, and put both back afterwards.

    Training may draw from them in this very process (dropout).
    """
    kept = random.getstate()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPU too
        try:
            yield
        finally:
            random.setstate(kept)


class _Pictures(Dataset[tuple[Tensor, int] | DamagedImageError]):
    """Decodes one image; runs in loading processes, from which an error comes back whole only as a value."""

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int] | DamagedImageError:
        try:
            with _drawing(draw.seed):
                picture = self.encoded.picture(draw.part, draw.row)
                return _transform(draw.augment, self.encoded.size)(picture), draw.label
        except Exception as error:  # Pillow raises a dozen unrelated kinds for bytes that are not what they say
            return self.encoded.damaged(draw.part, draw.row, error)


def _collate(made: list[tuple[Tensor, int] | DamagedImageError]) -> tuple[Tensor, Tensor] | DamagedImageError:
    from timm.data.loader import fast_collate

    damaged = next((one for one in made if isinstance(one, DamagedImageError)), None)
    if damaged is not None:
        return damaged
    batch: tuple[Tensor, Tensor] = fast_collate(made)
    return batch


class _Asked:
    """Batches that are to be decoded; torch's loader asks it anew for each sequence."""

    batches: Iterable[list[Draw]] = ()

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self.batches)


class Decoder:
    """Decodes images of one data set, here or in processes that stay from one sequence of batches to the next.

    These end by themselves some seconds after the process that started them, however it ended (torch sees to it).
    """

    def __init__(self, encoded: Encoded, workers: int = 0, pinned: bool = False) -> None:
        self.encoded, self.workers = encoded, workers
        self._asked, self._sequence = _Asked(), 0
        self._loader: DataLoader[Any] = DataLoader(
            _Pictures(encoded),
            batch_sampler=self._asked,
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=pinned,
            multiprocessing_context="spawn" if workers else None,  # a fork of a process with CUDA and threads may hang
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # or each sequence would draw from the one that dropout draws from
        )

    def batches(self, asked: Iterable[list[Draw]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images, uint8 [n, 3, size, size], and labels [n], on the CPU; one sequence at a time.

        Raises:
            DamagedImageError: for an image that cannot be decoded.

        """
        self._sequence += 1
        own, self._asked.batches = self._sequence, asked
        for batch in self._loader:
            if isinstance(batch, DamagedImageError):
                raise batch
            if own != self._sequence:
                raise RuntimeError("another sequence of batches was begun before this one had ended")
            yield batch

    def images(self, draws: list[Draw]) -> Tensor:
        """Give the images of one batch, to which all processes contribute."""
        share = -(-len(draws) // max(1, self.workers))
        pieces = [draws[start : start + share] for start in range(0, len(draws), share)]
        return torch.cat([images for images, _ in self.batches(pieces)])


@functools.lru_cache(maxsize=1)
def _decoder(encoded: Encoded, device: str) -> Decoder:
    """Give this process's decoder, one for all trainings on a data set.

    On a CPU a cell has one core, on which it decodes too; a GPU is fed by all cores but the one that drives it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Decoder(encoded, workers=max(1, cores - 1), pinned=True) if device == "cuda" else Decoder(encoded)


@dataclass(frozen=True, kw_only=True)
class StreamFeed(Feed):
    """Images that lie nowhere yet (``images`` is empty): each batch is decoded when it is asked for."""

    rows: Rows
    decoder: Decoder

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Give images [N, 3, size, size], unaugmented, in the memory layout that is asked for, and labels [N]."""
        chosen = self.rows.take(np.arange(len(self))[index if isinstance(index, slice) else index.cpu().numpy()])
        pixels = self.decoder.images(draws(chosen, "none", np.zeros(len(chosen.rows), np.int64)))
        decoded = Feed(pixels.to(self.mean.device), self.labels[index], self.mean, self.deviation, self.layout)
        return decoded.batch(slice(None))


def draws(rows: Rows, augment: str, seeds: NDArray[np.int64]) -> list[Draw]:
    """Name images to be decoded, each with the seed of its augmentation."""
    columns = (rows.rows.tolist(), rows.labels.tolist(), seeds.tolist())
    return [Draw(rows.part, row, label, augment, seed) for row, label, seed in zip(*columns, strict=True)]


def stream_feeds(
    train: Rows, test: Rows, device: str, layout: torch.memory_format = torch.contiguous_format
) -> tuple[StreamFeed, StreamFeed]:
    """Give both parts, decoded by one decoder, with their labels on the device."""
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    mean, deviation = (
        torch.tensor([255 * one for one in values], device=device).view(1, -1, 1, 1)
        for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    )
    decoder = _decoder(train.encoded, device)
    none = torch.zeros(0, *train.shape, dtype=torch.uint8)
    first, second = (
        StreamFeed(none, part.labels.to(device), mean, deviation, layout, rows=part, decoder=decoder)
        for part in (train, test)
    )
    return first, second


class StreamBatches:
    """Training batches, decoded ahead of their step and brought to the device beside it by timm's prefetching."""

    def __init__(self, feed: StreamFeed, settings: AccuracySettings) -> None:
        from timm.data.loader import PrefetchLoader

        self.feed, self.settings = feed, settings
        self.steps = len(feed) // settings.batch_size
        self._steps_of = splits.steps(settings, feed.rows.labels.numpy())
        self._epoch = 0
        # it standardizes as the feed does, unless told otherwise
        self._prefetched: Iterable[tuple[Tensor, Tensor]] = PrefetchLoader(
            self,  # type: ignore[arg-type]  # any iterable does
            device=torch.device(settings.device),
        )
        self._coming: Iterator[tuple[Tensor, Tensor]] = iter(())

    def begin(self, epoch: int) -> None:
        """Draw an epoch's order and augmentation; decoding begins with the first step."""
        self._epoch = epoch
        self._coming = iter(self._prefetched)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode the batches of the epoch that has begun: what is prefetched from."""
        order, places = self._steps_of(self._epoch)
        draw = stream(self.settings.seed, f"augmentation of epoch {self._epoch}")
        seeds = np.take_along_axis(draw.integers(0, 2**63, order.shape), places, axis=1)
        steps = zip(order, seeds, strict=True)
        return self.feed.decoder.batches(
            draws(self.feed.rows.take(some), self.settings.augment, own) for some, own in steps
        )

    def take(self) -> tuple[Tensor, Tensor]:
        """Give the next batch."""
        images, labels = next(self._coming)
        return images.contiguous(memory_format=self.feed.layout), labels

    def __deepcopy__(self, memo: dict[int, Any]) -> StreamBatches:
        """Give batches for a training that branches off between epochs; what decodes is shared."""
        return StreamBatches(self.feed, self.settings)
