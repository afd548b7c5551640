"""From Hugging Face data sets to labels and uint8 tensors; imported where a set is streamed, or not cached yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from normzoo_bench.data import DataSet, Images, fingerprint
from normzoo_bench.errors import UsageError
from normzoo_suites import Call
from normzoo_suites.calls import Option

TEST_NAMES = ("test", "validation", "valid", "val")
UNLABELLED = (None, -1)  # how data sets spell a label that is kept from those who test on it
_GRAY = ("1", "L", "LA", "La")

Pixels = NDArray[np.uint8]
"""[H, W, C], where C is 1 for a gray picture and 3 for any other."""


@dataclass(frozen=True)
class Layout:
    """What all parts have in common: their columns, and the labels' values in the order of their numbers."""

    where: str
    image: str
    label: str
    classes: list[Any]


def decode(where: str, options: Mapping[str, Option]) -> DataSet:
    """Read a folder or a hub id into 8 bits per channel; ``normzoo_bench.data.find`` tells what the options are.

    Images have one channel where those of both parts are all gray, else three; transparency is dropped. Gray of 16
    bits is scaled by 1/257. The test part is ``test``, or the first of ``TEST_NAMES`` that has labels.

    Raises:
        UsageError: see ``normzoo_bench.data.load``.

    """
    size = square(options, where)
    found = read(where, options)
    _check_memory([len(labels) for labels in found.labels], size, where)
    named = zip(found.parts, found.names, strict=True)
    pictures = _alike([_pictures(part, name, found.layout, size) for part, name in named], where, options)
    decoded = [Images(*both) for both in zip(pictures, found.labels, strict=True)]
    hash_ = fingerprint(*(tensor for part in decoded for tensor in (part.images, part.labels)))
    return DataSet(decoded[0], decoded[1] if len(decoded) > 1 else None, len(found.layout.classes), hash_)


@dataclass(frozen=True)
class Read:
    """The training part and, where there is one, the test part: their labels are read, and no image is decoded."""

    layout: Layout
    names: list[str]
    parts: list[Any]
    labels: list[torch.Tensor]  # of each part, int64 [n], numbers of classes


def read(where: str, options: Mapping[str, Option]) -> Read:
    """Open a folder or a hub id, find its parts and columns, and read its labels; raises UsageError as ``decode``."""
    parts = _open(where, options)
    train = _training_part(parts, where)
    image = _column(parts[train], "image", _image_columns, _image_columns, options, where)
    label = _column(parts[train], "label", _likely_labels, _possible_labels, options, where)
    layout = Layout(where, image, label, _classes(parts[train], train, label, where))
    test = _test_part(parts, train, layout, options)
    names = [train] if test is None else [train, test]
    return Read(layout, names, [parts[name] for name in names], [_labels(parts[name], name, layout) for name in names])


def square(options: Mapping[str, Option], where: str) -> int | None:
    """Give the edge of the square that images are brought to, or None where they stay as they are."""
    size = options.get("size")
    if size is None or (isinstance(size, int) and not isinstance(size, bool) and size > 0):
        return size
    raise UsageError(f"{where}: size is a whole number of pixels above 0, got {size!r}")


def _check_memory(counts: list[int], size: int | None, where: str) -> None:
    """Require that the decoded images can fit into memory, before hours are spent on them."""
    needed = sum(counts) * 3 * (size or 0) ** 2  # bytes, of three channels
    if needed > _memory():
        raise UsageError(
            f"{where}: {sum(counts):,} images of {size}×{size} take {needed / 2**30:.0f} GiB of memory, and this "
            f"machine has {_memory() / 2**30:.0f}; choose a smaller size, or stream them: --set data=stream"
        )


def _memory() -> float:
    """Give the machine's memory in bytes; where that cannot be asked, no limit."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return float("inf")


def _open(where: str, options: Mapping[str, Option]) -> dict[str, Any]:
    """Load all parts; ``config`` chooses among the subsets of one name that a hub id or a folder may hold."""
    datasets.disable_progress_bars()
    folder = Path(where)
    config = None if options.get("config") is None else str(options["config"])
    saved = any((folder / name).exists() for name in ("dataset_dict.json", "state.json"))
    if saved and config:
        raise UsageError(f"{where} was saved as one data set, which has no configs to choose {config!r} from")
    try:
        if saved:
            found = datasets.load_from_disk(where)
        else:
            # the library knows a folder's files by their times, we by their content
            mode = "reuse_cache_if_exists" if folder.is_dir() else "reuse_dataset_if_exists"
            found = datasets.load_dataset(where, config, download_mode=mode)
    except Exception as error:  # the library raises a dozen unrelated kinds, and each means: no such data here
        # the library's last words on several configs are an example in Python
        cause, example, _ = reason(error).partition(" Example of usage:")
        hint = f"; choose one: --set 'dataset={again(where, options, 'config', 'NAME')}'" if example else ""
        raise UsageError(f"cannot load the data set {where!r}: {cause}{hint}") from error
    return {str(name): part for name, part in found.items()} if isinstance(found, Mapping) else {"train": found}


def reason(error: BaseException) -> str:
    """Give the cause that a library's error had, in one line."""
    while error.__cause__:  # the library wraps what it was that happened
        error = error.__cause__
    text = " ".join(str(error).partition(" <")[0].split())[:300]  # from " <" on Pillow gives an object's address
    return f"{type(error).__name__}: {text}"


def _training_part(parts: Mapping[str, Any], where: str) -> str:
    """Give the name of the part called train, or of the only one."""
    name = "train" if "train" in parts else next(iter(parts), "")
    if name != "train" and len(parts) != 1:
        raise UsageError(
            f"{where} has no part called 'train', and several others: {', '.join(parts)}; "
            "save the data with the one to train on called 'train'"
        )
    if len(parts[name]) == 0:
        raise UsageError(f"{where}: the part {name!r} is empty, and it is the one to train on")
    return name


def _test_part(parts: Mapping[str, Any], train: str, layout: Layout, options: Mapping[str, Option]) -> str | None:
    """Give the name of the part to test on, or None where no other one has labels."""
    others = [name for name in parts if name != train]
    if options.get("test") is None:
        return next((name for name in TEST_NAMES if name in others and _is_labelled(parts[name], layout)), None)
    wanted = str(options["test"])
    if wanted not in others:
        known = ", ".join(others) or "none"
        raise UsageError(f"{layout.where} has no part {wanted!r} to test on; its parts besides {train!r}: {known}")
    if not _is_labelled(parts[wanted], layout):
        raise UsageError(
            f"{layout.where}: the part {wanted!r} has no labels to test on; choose another, or leave test out"
        )
    return wanted


def _is_labelled(part: Any, layout: Layout) -> bool:
    """Tell whether any sample has a label; an empty part has none."""
    if not {layout.image, layout.label} <= set(part.features):
        return False
    return any(value not in UNLABELLED or value in layout.classes for value in set(part[layout.label][:]))


def _image_columns(features: Mapping[str, Any]) -> list[str]:
    return [name for name, kind in features.items() if isinstance(kind, datasets.Image)]


def _likely_labels(features: Mapping[str, Any]) -> list[str]:
    """Give the columns that may be the label: class labels, else whole numbers, else words."""
    labels = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    plain = {name: kind.dtype for name, kind in features.items() if isinstance(kind, datasets.Value)}
    numbers = [name for name, kind in plain.items() if "int" in kind]
    words = [name for name, kind in plain.items() if "string" in kind]
    return labels or numbers or words


def _possible_labels(features: Mapping[str, Any]) -> list[str]:
    kinds = (datasets.ClassLabel, datasets.Value)
    return [name for name, kind in features.items() if isinstance(kind, kinds) and "float" not in kind.dtype]


_Columns = Callable[[Mapping[str, Any]], list[str]]


def _column(
    part: Any, kind: str, likely: _Columns, possible: _Columns, options: Mapping[str, Option], where: str
) -> str:
    columns = ", ".join(part.features)
    if options.get(kind) is not None:
        wanted = str(options[kind])
        if wanted not in part.features:
            raise UsageError(f"{where} has no column {wanted!r}; its columns: {columns}")
        if wanted not in possible(part.features):
            raise UsageError(f"{where}: the column {wanted!r} holds no {kind}s but {part.features[wanted]}")
        return wanted
    candidates = likely(part.features)
    if not candidates:
        raise UsageError(f"{where} has no {kind} column; its columns: {columns}")
    if len(candidates) > 1:
        raise UsageError(
            f"{where} has several columns that may be the {kind}: {', '.join(candidates)}; "
            f"choose one: --set 'dataset={again(where, options, kind, candidates[0])}'"
        )
    return candidates[0]


def again(where: str, options: Mapping[str, Option], key: str, value: Option) -> str:
    """Spell a data set with one option more, and as the user may have: a folder relative to here."""
    folder = Path(where)
    return str(Call(where if not folder.is_absolute() else os.path.relpath(folder), {**options, key: value}))


def _classes(part: Any, name: str, label: str, where: str) -> list[Any]:
    """Give the labels' values, in the order of their numbers, from the training part."""
    kind = part.features[label]
    present = set(part[label][:]) - {None}
    if isinstance(kind, datasets.ClassLabel):
        present -= {-1}
    if len(present) < 2:
        raise UsageError(
            f"{where}: the label column {label!r} of the part {name!r} has fewer than two classes; "
            "choose another label column or other data"
        )
    return list(range(kind.num_classes)) if isinstance(kind, datasets.ClassLabel) else sorted(present)


def _labels(part: Any, name: str, layout: Layout) -> torch.Tensor:
    place = {value: index for index, value in enumerate(layout.classes)}
    values = part[layout.label][:]
    odd = next((row for row, value in enumerate(values) if value not in place), None)
    if odd is not None:
        raise UsageError(
            f"{layout.where}: row {odd} of the part {name!r} has the label {values[odd]!r}, which is no class of the "
            "training part; choose another label column, or another part with test=NAME"
        )
    return torch.tensor([place[value] for value in values], dtype=torch.long)


def _pictures(part: Any, name: str, layout: Layout, size: int | None) -> list[Pixels]:
    pictures: list[Pixels] = []
    try:
        for row in part.select_columns([layout.image]):
            pictures.append(_pixels(row[layout.image], size))
    except Exception as error:  # Pillow raises a dozen unrelated kinds for bytes that are not what they say
        row_number = len(pictures)
        raise UsageError(
            f"{layout.where}: cannot read the image in row {row_number} of the part {name!r}: {reason(error)}"
        ) from error
    return pictures


def _pixels(picture: Image.Image | None, size: int | None) -> Pixels:
    """Decode one picture, cropped to its middle square where a size is wanted."""
    if picture is None:
        raise ValueError("there is none")
    picture = eight_bits(picture)
    if size is not None:
        edge = min(picture.size)
        left, top = ((length - edge) // 2 for length in picture.size)
        picture = picture.crop((left, top, left + edge, top + edge)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.uint8).reshape(picture.height, picture.width, -1)


def eight_bits(picture: Image.Image) -> Image.Image:
    """Convert to L or RGB."""
    if picture.mode in ("I", "F"):
        raise ValueError(f"its mode {picture.mode} does not say what is white; save the images with 8 or 16 bits")
    if picture.mode.startswith("I;16"):  # which convert would clip at 255
        return Image.fromarray(((np.asarray(picture).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # Pillow warns where this step is left out
    return picture.convert("L" if picture.mode in _GRAY else "RGB")


def _alike(parts: list[list[Pixels]], where: str, options: Mapping[str, Option]) -> list[torch.Tensor]:
    """Stack each part to [n, C, H, W]; all parts together have one size, and three channels if any picture has."""
    shapes = {pixels.shape for part in parts for pixels in part}
    sizes = {shape[:2] for shape in shapes}
    if len(sizes) > 1:
        raise UsageError(
            f"{where} has images of {len(sizes)} sizes; choose one, such as "
            f"--set 'dataset={again(where, options, 'size', 64)}'"
        )
    common = (*sizes.pop(), max(channels for _, _, channels in shapes))
    stacks = (np.stack([np.broadcast_to(pixels, common) for pixels in part]) for part in parts)
    return [torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous() for stack in stacks]
