"""Images and labels in memory: the embedded digits, a hub's data, or a folder of parquet, arrow or image files.

Every data set is decoded once into uint8 tensors and cached; workers map the cached file. A folder is known by its
content, so that changed data is decoded anew. A hub id is known by its name alone: what was fetched once is kept, also
when the hub has a newer version, until its file is deleted from the cache. (Records hold a fingerprint of the pixels
and labels, so records of two versions are never taken for each other.)
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from normzoo_bench import folders
from normzoo_bench.errors import UsageError
from normzoo_bench.known import KNOWN, known_options
from normzoo_bench.seeds import stream
from normzoo_suites import Call, parse_call
from normzoo_suites.calls import Option

EMBEDDED = {"digits": "1,797 handwritten digits, 8×8, 10 classes (UCI ML, through scikit-learn)"}
TEST_SHARE = 0.2
OPTIONS = ("image", "label", "size", "test", "config")
DECODER = 1
"""Of what is in the cache; to be counted up with every change to how images and labels are decoded."""


@dataclass(frozen=True)
class Images:
    """Decoded images: ``images`` is uint8 [n, C, H, W], ``labels`` int64 [n]."""

    images: Tensor
    labels: Tensor

    def take(self, positions: NDArray[np.int64] | None) -> Images:
        """Copy the images at these positions; None is all of them, uncopied."""
        if positions is None:
            return self
        index = torch.from_numpy(positions)
        return Images(self.images[index], self.labels[index])


@dataclass(frozen=True)
class DataSet:
    """A decoded data set; ``test`` is None where it has one labelled part only, which each seed then splits anew."""

    train: Images
    test: Images | None
    classes: int
    fingerprint: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

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

    def train_size(self) -> int:
        """Count the training samples that a seed can have."""
        count = len(self.train.labels)
        return count if self.test else count - _test_count(count)

    def parts(self, seed: int, train_samples: int | str, evaluate_on: str = "test") -> tuple[Images, Images]:
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
        train, _ = self._positions(seed, train_samples, evaluate_on)
        labels = self.train.labels.numpy()
        return len(np.unique(labels if train is None else labels[train]))

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


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: ``name`` is its spelling in settings, ``where`` what loads it here."""

    name: str
    where: str
    options: Mapping[str, Option]


def find(text: str) -> Source:
    """Say which data set is meant: an embedded one, a hub's by its short name, a folder on this machine, or a hub id.

    Options: ``image`` and ``label`` name columns, ``size`` resizes to a square, ``test`` names the part to test on,
    ``config`` the hub's subset. A short name has options of its own, over which given ones win; it goes before a
    folder of that name here, which is ``./NAME``, so that a suite means the same wherever it runs.
    A folder's name in settings is ``folder@fingerprint``: the same data has the same name on every machine.

    Raises:
        UsageError: for a name that can be none of them, an unknown option, or a folder that cannot be read.

    """
    call = parse_call(text)
    unknown = set(call.options) - set(OPTIONS)
    if unknown:
        raise UsageError(
            f"unknown option {sorted(unknown)[0]!r} of the data set {call.name}; known: {', '.join(OPTIONS)}"
        )
    if call.name in EMBEDDED:
        if call.options:
            raise UsageError(f"the embedded data set {call.name} has no options, got {text}")
        return Source(call.name, call.name, {})
    if call.name in KNOWN:
        own = KNOWN[call.name].options
        changed = {key: value for key, value in call.options.items() if value != own.get(key)}
        return Source(str(Call(call.name, changed)), KNOWN[call.name].where, known_options(call))
    folder = Path(call.name).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        return Source(str(Call(_folder_name(folder), call.options)), str(folder), call.options)
    _check_hub_id(call.name)
    return Source(str(call), call.name, call.options)


def _check_hub_id(name: str) -> None:
    """Require what may be a hub id, and is no slip of the keyboard: asking the hub takes half a minute."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise UsageError(
            f"unknown data set {name!r}: it is neither one of {', '.join([*EMBEDDED, *KNOWN])}, "
            "nor a folder here, nor a hub id"
        )
    if near := [known for known in (*EMBEDDED, *KNOWN) if _plain(known) == _plain(name)]:
        raise UsageError(f"unknown data set {name!r}; did you mean {near[0]!r}?")
    folder = Path(name).expanduser()
    if folder.parent != Path() and folder.parent.is_dir():
        raise UsageError(f"there is no folder {folder.name!r} in {name.rpartition('/')[0]}; it holds: {_held(folder)}")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _held(folder: Path) -> str:
    names = sorted(path.name for path in folder.parent.iterdir() if path.is_dir())
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "no folder"


def _folder_name(folder: Path) -> str:
    plain = re.sub(r"[^\w.-]", "_", folder.name) or "data"
    try:
        return f"{plain}@{folders.fingerprint(folder, cache_folder())}"
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or folder}: {error.strerror or error}") from None


@functools.lru_cache(maxsize=4)
def load(name: str, where: str) -> DataSet:
    """Load a data set that ``find`` has named; decoded once per machine, kept in memory.

    Raises:
        UsageError: when it cannot be found or read, or has no clear image and label column, or cannot be cached.

    """
    if name in EMBEDDED:
        return _digits()
    file = cache_folder() / f"{hashlib.sha256(f'{DECODER} {name}'.encode()).hexdigest()[:16]}.pt"
    kept = _read(file)
    if kept is None:
        from normzoo_bench.decode import decode  # datasets takes seconds to import, and a cached set needs it not

        call = parse_call(name)
        try:
            _write(file, decode(where, known_options(call)))
        except UsageError as error:
            if call.name in KNOWN and Path(call.name).is_dir():
                raise UsageError(f"{error}; for the folder of that name here, write ./{call.name}") from error
            raise
        kept = _read(file)  # mapped, as all other processes have it
    if kept is None:
        raise UsageError(f"cannot read back {file}; set NORMZOO_CACHE to a folder on another disk")
    return kept


def cache_folder() -> Path:
    """Give the folder of decoded data: NORMZOO_CACHE, else the user's cache folder."""
    base = os.environ.get("NORMZOO_CACHE")
    if base:
        return Path(base).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "normzoo"


def _read(file: Path) -> DataSet | None:
    """Map a cached file, or give None where there is none that can be read."""
    try:
        kept = torch.load(file, mmap=True, weights_only=True)
        test = Images(kept["test_images"], kept["test_labels"]) if "test_images" in kept else None
        return DataSet(Images(kept["train_images"], kept["train_labels"]), test, kept["classes"], kept["fingerprint"])
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, pickle.UnpicklingError):
        return None  # a damaged file shows itself in any of these


def _write(file: Path, data: DataSet) -> None:
    kept: dict[str, object] = {
        "train_images": data.train.images,
        "train_labels": data.train.labels,
        "classes": data.classes,
        "fingerprint": data.fingerprint,
    }
    if data.test:
        kept |= {"test_images": data.test.images, "test_labels": data.test.labels}
    partial = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(kept, partial)
        partial.replace(file)
    except (OSError, RuntimeError) as error:  # torch raises the latter for a full disk
        with contextlib.suppress(OSError):
            partial.unlink()
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"cannot write decoded data to {file.parent}: {reason}; set NORMZOO_CACHE to a folder that can be written"
        ) from None


def _digits() -> DataSet:
    bunch = load_digits()
    images = torch.from_numpy((bunch.images * 255 / 16).astype(np.uint8))[:, None]  # [1797, 1, 8, 8]
    labels = torch.from_numpy(bunch.target).long()
    return DataSet(Images(images, labels), None, 10, fingerprint(images, labels))


def fingerprint(*tensors: Tensor) -> str:
    """Give twelve hex digits over the decoded data."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:12]
