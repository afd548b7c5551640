"""What the asking process and its ranks know of each other: the files of the folder in which they meet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from normzoo_suites.settings import AccuracySettings, SyncCostSettings

if TYPE_CHECKING:  # the process of a rank imports this before it is ready to import torch
    from normzoo_bench.data import DataSet
    from normzoo_bench.streamed import StreamedSet
    from normzoo_bench.training.observe import Observer

Asked = AccuracySettings | SyncCostSettings
"""The settings of cells whose ranks are, or can be, processes."""

WORK = "work.pt"
ENDED = "ended.pickle"
MEETING = "meeting"


@dataclass(frozen=True)
class Work:
    """What the ranks of a job are to do.

    Attributes:
        cells: the settings of its cells.
        data: their data set, if they have one; ranks map the file that holds it, and share its memory.
        source_hash: that of their normalizer's source, as it was planned.
        observer: who is told of their epochs, by rank 0.

    """

    cells: tuple[Asked, ...]
    data: DataSet | StreamedSet | None
    source_hash: str
    observer: Observer | None = None


def told_file(folder: Path, rank: int) -> Path:
    """Give the file in which a rank tells why it could not go on."""
    return folder / f"told-{rank}.json"
