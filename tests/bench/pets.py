"""Small data sets made on the spot, as users have them on disk."""

from __future__ import annotations

import datasets
import numpy as np
import torch
from PIL import Image

from normzoo_bench import data


def pictures(count, size=8, mode="RGB"):
    draw = np.random.default_rng(0)
    shape = (size, size, 3) if mode == "RGB" else (size, size)
    return [Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8), mode=None) for _ in range(count)]


def table(count=12, names=("img", "label"), mode="RGB", extra=None):
    columns = {names[0]: pictures(count, mode=mode), names[1]: [i % 3 for i in range(count)]} | (extra or {})
    kinds = {names[0]: datasets.Image(), names[1]: datasets.ClassLabel(names=["cat", "dog", "owl"])}
    for name in extra or {}:
        kinds[name] = datasets.ClassLabel(num_classes=12)
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))


def parquet_folder(tmp_path, **parts):
    folder = tmp_path / "pets"
    folder.mkdir()
    for name, part in parts.items():
        part.to_parquet(folder / f"{name}.parquet")
    return folder


def loaded(text):
    source = data.find(text)
    return data.load(source.name, source.where)


CLASSES = datasets.ClassLabel(num_classes=3)
NUMBERS = datasets.Value("int64")


def part_of(images, labels, kind=NUMBERS):
    features = datasets.Features({"img": datasets.Image(), "label": kind})
    return datasets.Dataset.from_dict({"img": images, "label": labels}, features=features)


def saved(tmp_path, **parts):
    """Save parts as arrow files, under any names."""
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "pets")
    return str(tmp_path / "pets")


# colours


def one_part(labels, classes=3):
    labels = torch.tensor(labels)
    return data.DataSet(data.Images(torch.zeros(len(labels), 1, 2, 2), labels), None, classes, "")
