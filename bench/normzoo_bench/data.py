"""Images and labels in memory: the embedded digits, a hub id or a folder of parquet, arrow or image files.

Every data set is decoded once into uint8 tensors and cached; workers map the cached file.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from normzoo_bench.errors import UsageError
from normzoo_bench.seeds import stream
from normzoo_suites import Call, parse_call
from normzoo_suites.calls import Option

EMBEDDED = {"digits": "1,797 handwritten digits, 8×8, 10 classes (UCI ML, through scikit-learn)"}
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Images:
    """Decoded images: ``images`` is uint8 [n, C, H, W], ``labels`` int64 [n]."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class DataSet:
    """A decoded data set; ``test`` is None where it has one part only, which each seed then splits anew."""

    train: Images
    test: Images | None
    classes: int
    fingerprint: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def train_size(self) -> int:
        """Count the training samples that a seed can have."""
        count = len(self.train.labels)
        return count if self.test else count - _test_count(count)

    def parts(self, seed: int, train_samples: int | str) -> tuple[Images, Images]:
        """Give one seed's training and test part; ``train_samples`` are drawn from the training part."""
        train, test = (self.train, self.test) if self.test else _split(self.train, seed)
        if isinstance(train_samples, int):
            chosen = stream(seed, "train samples").permutation(len(train.labels))[:train_samples]
            index = torch.from_numpy(np.sort(chosen))
            train = Images(train.images[index], train.labels[index])
        return train, test


def _split(whole: Images, seed: int) -> tuple[Images, Images]:
    index = np.arange(len(whole.labels))
    train, test = train_test_split(
        index, test_size=_test_count(len(index)), random_state=seed, stratify=whole.labels.numpy()
    )
    return tuple(Images(whole.images[i], whole.labels[i]) for i in (torch.from_numpy(train), torch.from_numpy(test)))  # type: ignore[return-value]  # two of them


def _test_count(count: int) -> int:
    return int(np.ceil(count * TEST_SHARE))


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: ``name`` is its spelling in settings, ``where`` what loads it here."""

    name: str
    where: str
    options: Mapping[str, Option]


def find(text: str) -> Source:
    """Say which data set is meant: an embedded one, a folder on this machine, or a hub id.

    A folder's name in settings is ``folder@fingerprint``: the same data has the same name on every machine.

    Raises:
        UsageError: for a name that can be none of them, or an unknown option.

    """
    call = parse_call(text)
    unknown = set(call.options) - {"image", "label", "size"}
    if unknown:
        raise UsageError(
            f"unknown option {sorted(unknown)[0]!r} of the data set {call.name}; known: image, label, size"
        )
    if call.name in EMBEDDED:
        if call.options:
            raise UsageError(f"the embedded data set {call.name} has no options, got {text}")
        return Source(call.name, call.name, {})
    folder = Path(call.name).expanduser()
    if folder.is_dir():
        named = Call(f"{_plain(folder.resolve().name)}@{_folder_fingerprint(folder)}", call.options)
        return Source(str(named), str(folder.resolve()), call.options)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", call.name):
        raise UsageError(
            f"unknown data set {call.name!r}: it is neither embedded ({', '.join(EMBEDDED)}), "
            "nor a folder here, nor a hub id"
        )
    return Source(str(call), call.name, call.options)


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name) or "data"


def _folder_fingerprint(folder: Path) -> str:
    """Hash names, sizes and the first and last MiB of every file: cheap even where the data is large."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()} {size}\n".encode())
        with file.open("rb") as stream_:
            digest.update(stream_.read(2**20))
            stream_.seek(max(size - 2**20, 0))
            digest.update(stream_.read())
    return digest.hexdigest()[:8]


@functools.lru_cache(maxsize=4)
def load(name: str, where: str) -> DataSet:
    """Load a data set that ``find`` has named; decoded once per machine, kept in memory.

    Raises:
        UsageError: when it cannot be found or read, or has no clear image and label column.

    """
    if name in EMBEDDED:
        return _digits()
    file = cache_folder() / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.pt"
    if not file.exists():
        from normzoo_bench.decode import decode  # datasets takes seconds to import, and a cached set needs it not

        _write(file, decode(where, parse_call(name).options))
    kept = torch.load(file, mmap=True, weights_only=True)
    test = Images(kept["test_images"], kept["test_labels"]) if "test_images" in kept else None
    return DataSet(Images(kept["train_images"], kept["train_labels"]), test, kept["classes"], kept["fingerprint"])


def cache_folder() -> Path:
    """Give the folder of decoded data: NORMZOO_CACHE, else the user's cache folder."""
    base = os.environ.get("NORMZOO_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "normzoo"


def _write(file: Path, data: DataSet) -> None:
    kept: dict[str, object] = {
        "train_images": data.train.images,
        "train_labels": data.train.labels,
        "classes": data.classes,
        "fingerprint": data.fingerprint,
    }
    if data.test:
        kept |= {"test_images": data.test.images, "test_labels": data.test.labels}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.part")
    torch.save(kept, partial)
    partial.replace(file)


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
