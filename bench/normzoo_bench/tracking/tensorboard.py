"""TensorBoard: event files in the run folder, under ``tensorboard/``, a run for each cell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from normzoo_bench.tracking.names import Named
from normzoo_bench.tracking.registry import Ended, register

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_LONGEST = 120  # characters of a folder's name


@register("tensorboard", "tensorboard", "`pip install tensorboard`, or normzoo with its extra [track]")
class TensorBoard:
    """Writes ``RUN/tensorboard/NORMALIZER/CONDITION/SEED`` for ``tensorboard --logdir RUN/tensorboard``."""

    def __init__(self, folder: Path, suite: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.writer = folder / "tensorboard", SummaryWriter

    def begin(self, cell: Named) -> _Run:
        """Begin a cell's event file; what an earlier try has written beside it is shown no longer."""
        folder = self.folder.joinpath(*(_file_name(part) for part in (*cell.group, cell.own)))
        # `purge_step` has TensorBoard forget the steps from there on that stand in older files
        return _Run(cell, self.writer(str(folder), purge_step=0))


class _Run:
    def __init__(self, cell: Named, writer: SummaryWriter) -> None:
        self.cell, self.writer = cell, writer

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, number)
        self.writer.flush()  # else it would keep them for two minutes

    def end(self, epochs: int, ended: Ended) -> None:
        told = f"{ended.status}: {ended.reason}" if ended.reason else ended.status
        self.writer.add_text("status", f"{told} (cell {self.cell.id})", epochs)
        if ended.metrics is not None:
            settings = {key: value if _plain(value) else str(value) for key, value in self.cell.settings.items()}
            # by itself it would make a run of its own, below this one
            self.writer.add_hparams(settings, dict(ended.metrics), run_name=".", global_step=epochs)
        self.writer.close()


def _plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.,=()@+-]+", "_", text)[:_LONGEST]
