"""Data sets too large for memory: labels are read at once, images stay encoded until training or testing asks for them.

A folder's fingerprint is that of its files, as its name has it; a hub id's is over all labels and a hundred encoded
images of each part. Both are the same on every machine.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from normzoo_bench.errors import UsageError
from normzoo_bench.known import known_options
from normzoo_bench.parts import Parted
from normzoo_suites import parse_call

if TYPE_CHECKING:
    from normzoo_bench.decode import Read

HASHED = 100  # images per part of a hub's data set whose bytes enter its fingerprint


class DamagedImageError(ValueError):
    """An image cannot be decoded; the message names its row."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A data set's parts as the library maps them from disk: the training part and, where there is one, the test part.

    Attributes:
        where: what loaded them.
        names: the parts' names.
        parts: the parts, of the image column alone.
        column: its name.
        size: the edge of the square that every image is brought to.

    """

    where: str
    names: tuple[str, ...]
    parts: tuple[Any, ...]
    column: str
    size: int

    def picture(self, part: int, row: int) -> Image.Image:
        """Decode one image to RGB, in its own size.

        Raises:
            ValueError, OSError: and whatever else Pillow has for bytes that are no picture; see ``damaged``.

        """
        from normzoo_bench.decode import eight_bits

        picture = self.parts[part][row][self.column]
        if picture is None:
            raise ValueError("there is none")
        return eight_bits(picture).convert("RGB")

    def damaged(self, part: int, row: int, error: Exception) -> DamagedImageError:
        """Say which image it is that cannot be decoded."""
        from normzoo_bench.decode import reason

        return DamagedImageError(
            f"cannot read the image in row {row} of the part {self.names[part]!r}: {reason(error)}"
        )


@dataclass(frozen=True, eq=False)
class Rows:
    """Images that are not decoded: ``rows`` [n] of the part number ``part``, and their ``labels``, int64 [n]."""

    encoded: Encoded
    part: int
    rows: NDArray[np.int64]
    labels: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image as it will be decoded."""
        return 3, self.encoded.size, self.encoded.size

    def take(self, positions: NDArray[np.int64] | None) -> Rows:
        """Give the rows at these positions; None is all of them."""
        if positions is None:
            return self
        return Rows(self.encoded, self.part, self.rows[positions], self.labels[positions])


class StreamedSet(Parted[Rows]):
    """A data set whose images are decoded while they are needed."""


@functools.lru_cache(maxsize=4)
def load_streamed(name: str, where: str) -> StreamedSet:
    """Open a data set that ``data.find`` has named, and read its labels; no image is decoded.

    Raises:
        UsageError: when it cannot be found or read, has no clear image and label column, or no ``size`` is given.

    """
    from normzoo_bench import decode  # datasets takes seconds to import

    options = known_options(parse_call(name))
    size = decode.square(options, where)
    if size is None:
        raise UsageError(
            f'{where} is streamed (data = "stream"), which needs the size in pixels that its images are brought to; '
            f"give one, such as --set 'dataset={decode.again(where, options, 'size', 224)}'"
        )
    found = decode.read(where, options)
    column = found.layout.image
    parts = tuple(part.select_columns([column]) for part in found.parts)
    encoded = Encoded(where, tuple(found.names), parts, column, size)
    rows = [Rows(encoded, part, np.arange(len(one)), one) for part, one in enumerate(found.labels)]
    hash_ = parse_call(name).name.partition("@")[2] or _fingerprint(found)
    return StreamedSet(rows[0], rows[1] if len(rows) > 1 else None, len(found.layout.classes), hash_)


def _fingerprint(found: Read) -> str:
    """Give twelve hex digits over all labels, and some images as they are encoded."""
    digest = hashlib.sha256()
    for part, labels in zip(found.parts, found.labels, strict=True):
        digest.update(f"{len(labels)} ".encode() + labels.numpy().tobytes())
        for content in _some_encoded(part, found.layout.image):
            digest.update(f"{len(content)} ".encode() + content)
    return digest.hexdigest()[:12]


def _some_encoded(part: Any, column: str) -> Iterator[bytes]:
    """Yield some images of a part, evenly spread, as the bytes that they are stored in."""
    import datasets

    kept = part.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    for row in np.unique(np.linspace(0, len(part) - 1, HASHED).astype(int)):
        image = kept[int(row)][column] or {}
        if image.get("bytes") is not None:
            yield image["bytes"]
        elif image.get("path"):
            yield Path(image["path"]).read_bytes()
