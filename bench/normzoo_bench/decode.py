"""From Hugging Face data sets to uint8 tensors; imported only where a data set is not cached yet."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from normzoo_bench.data import DataSet, Images, fingerprint
from normzoo_bench.errors import UsageError
from normzoo_suites.calls import Option

TEST_NAMES = ("test", "validation", "valid", "val")


def decode(where: str, options: Mapping[str, Option]) -> DataSet:
    """Read a folder or a hub id; options ``image`` and ``label`` name the columns, ``size`` resizes to a square.

    Raises:
        UsageError: see ``normzoo_bench.data.load``.

    """
    parts = _open(where)
    train = parts.get("train") or next(iter(parts.values()))
    test = next((parts[name] for name in TEST_NAMES if name in parts and parts[name] is not train), None)
    image = _column(train, "image", _image_columns(train.features), options, where)
    label = _column(train, "label", _label_columns(train.features), options, where)
    classes = _classes(train, label)
    size = options.get("size")
    if size is not None and (not isinstance(size, int) or size < 1):
        raise UsageError(f"{where}: size is a whole number of pixels above 0, got {size!r}")
    decoded = [_images(part, image, label, classes, size, where) for part in (train, test) if part is not None]
    hash_ = fingerprint(*(tensor for part in decoded for tensor in (part.images, part.labels)))
    return DataSet(decoded[0], decoded[1] if test is not None else None, len(classes), hash_)


def _open(where: str) -> Mapping[str, Any]:
    datasets.disable_progress_bars()
    try:
        if Path(where).is_dir() and any((Path(where) / name).exists() for name in ("dataset_dict.json", "state.json")):
            found = datasets.load_from_disk(where)
        else:
            found = datasets.load_dataset(where)
    except Exception as error:  # the library raises a dozen unrelated kinds, and each means: no such data here
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"cannot load the data set {where!r}: {type(error).__name__}: {reason}") from error
    return found if isinstance(found, Mapping) else {"train": found}


def _image_columns(features: Mapping[str, Any]) -> list[str]:
    return [name for name, kind in features.items() if isinstance(kind, datasets.Image)]


def _label_columns(features: Mapping[str, Any]) -> list[str]:
    """Give the columns that may be the label: class labels, else whole numbers, else words."""
    labels = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    plain = {name: kind.dtype for name, kind in features.items() if isinstance(kind, datasets.Value)}
    numbers = [name for name, kind in plain.items() if "int" in kind]
    words = [name for name, kind in plain.items() if "string" in kind]
    return labels or numbers or words


def _column(part: Any, kind: str, candidates: list[str], options: Mapping[str, Option], where: str) -> str:
    columns = list(part.features)
    wanted = options.get(kind)
    if wanted is not None:
        if wanted not in columns:
            raise UsageError(f"{where} has no column {wanted!r}; its columns: {', '.join(columns)}")
        return str(wanted)
    if not candidates:
        raise UsageError(f"{where} has no {kind} column; its columns: {', '.join(columns)}")
    if len(candidates) > 1:
        raise UsageError(
            f"{where} has several columns that may be the {kind}: {', '.join(candidates)}; "
            f"choose one: --set 'dataset={_again(where)}({kind}={candidates[0]})'"
        )
    return candidates[0]


def _again(where: str) -> str:
    """Spell a data set as the user may have: a folder relative to here."""
    folder = Path(where)
    return where if not folder.is_absolute() else os.path.relpath(folder)


def _classes(part: Any, label: str) -> list[Any]:
    kind = part.features[label]
    if isinstance(kind, datasets.ClassLabel):
        return list(range(kind.num_classes))
    return sorted(set(part[label]))


def _images(part: Any, image: str, label: str, classes: list[Any], size: int | None, where: str) -> Images:
    place = {value: index for index, value in enumerate(classes)}
    labels = [place.get(value, -1) for value in part[label]]
    if not labels or min(labels) < 0:
        odd = next((value for value in part[label] if value not in place), None)
        what = f"the label {odd!r}, which the training part does not have" if labels else "no samples in a part"
        raise UsageError(f"{where} has {what}; choose a labelled part or another label column")
    channels = 1 if _is_gray(part[0][image]) else 3
    arrays = [_array(row[image], channels, size) for row in part.select_columns([image])]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise UsageError(
            f"{where} has images of {len(shapes)} sizes; choose one, such as --set 'dataset={_again(where)}(size=64)'"
        )
    images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    return Images(images, _long(labels))


def _is_gray(picture: Image.Image) -> bool:
    return picture.mode in ("1", "L", "I;16", "I", "F")


def _array(picture: Image.Image, channels: int, size: int | None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decode one picture to [H, W, C], cropped to its middle square where a size is wanted."""
    picture = picture.convert("L" if channels == 1 else "RGB")
    if size is not None:
        edge = min(picture.size)
        left, top = ((length - edge) // 2 for length in picture.size)
        picture = picture.crop((left, top, left + edge, top + edge)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.uint8).reshape(picture.height, picture.width, channels)


def _long(labels: list[int]) -> Tensor:
    return torch.tensor(labels, dtype=torch.long)
