"""Images and labels in memory: the embedded digits, a hub's data, or a folder of parquet, arrow or image files.

Every data set is decoded once into uint8 tensors and cached; workers map the cached file. A folder is known by its
content, so that changed data is decoded anew. A hub id is known by its name alone: what was fetched once is kept, also
when the hub has a newer version, until its file is deleted from the cache. (Records hold a fingerprint of the pixels
and labels, so records of two versions are never taken for each other.) What is too large for that is streamed
(``load_as`` with ``"stream"``): its labels are read, and its images while training.
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
from typing import Literal

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from normzoo_bench import folders
from normzoo_bench.caches import cache_folder
from normzoo_bench.errors import UsageError
from normzoo_bench.known import KNOWN, known_options
from normzoo_bench.parts import DataSet, Images
from normzoo_bench.streamed import StreamedSet, load_streamed
from normzoo_suites import Call, parse_call
from normzoo_suites.calls import Option
from normzoo_suites.errors import show

__all__ = ["DataSet", "Images", "Kind", "Source", "cache_folder", "find", "fingerprint", "load", "load_as"]

Kind = Literal["resident", "stream"]
EMBEDDED = {"digits": "1,797 handwritten digits, 8×8, 10 classes (UCI ML, through scikit-learn)"}
OPTIONS = ("image", "label", "size", "test", "config")
DECODER = 1
"""Of what is in the cache; to be counted up with every change to how images and labels are decoded."""


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
    if folder := _folder(call.name):
        return Source(str(Call(_folder_name(folder), call.options)), str(folder), call.options)
    _check_hub_id(call.name)
    return Source(str(call), call.name, call.options)


def _folder(name: str) -> Path | None:
    """Find a folder on this machine, if a name is one's; raises UsageError where that may not be seen."""
    try:
        folder = Path(name).expanduser()
        return folder.resolve() if folder.is_dir() else None
    except PermissionError as error:
        raise UsageError(f"cannot look for the data set {show(name)}: {error.strerror}") from None
    except (OSError, RuntimeError, ValueError):  # a name that is too long, or the home of nobody
        return None


def _check_hub_id(name: str) -> None:
    """Require what may be a hub id, and is no slip of the keyboard: asking the hub takes half a minute."""
    if not re.fullmatch(r"[\w.-]{1,96}(/[\w.-]{1,96})?", name):
        raise UsageError(
            f"unknown data set {show(name)}: it is neither one of {', '.join([*EMBEDDED, *KNOWN])}, "
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


def load_as(kind: Kind, name: str, where: str) -> DataSet | StreamedSet:
    """Load a data set in the way that the setting ``data`` names.

    Raises:
        UsageError: as ``load`` and ``load_streamed`` do.

    """
    if kind == "resident":
        return load(name, where)
    if name in EMBEDDED:
        raise UsageError(f'{name} is embedded and small, and cannot be streamed; use data = "resident"')
    return load_streamed(name, where)


@functools.lru_cache(maxsize=4)
def load(name: str, where: str) -> DataSet:
    """Load a data set that ``find`` has named; decoded once per machine, kept in memory.

    Raises:
        UsageError: when it cannot be found or read, or has no clear image and label column, or cannot be cached.

    """
    if name in EMBEDDED:
        return _digits()
    file = decoded_file(name)
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


def decoded_file(name: str) -> Path:
    """Give the file that a data set which ``find`` has named is kept in, once it is decoded."""
    return cache_folder() / f"{hashlib.sha256(f'{DECODER} {name}'.encode()).hexdigest()[:16]}.pt"


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
