"""Weights & Biases: a run for each cell, in the project that has the suite's name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from normzoo_bench.errors import UsageError
from normzoo_bench.tracking.names import Named
from normzoo_bench.tracking.registry import Ended, register

if TYPE_CHECKING:
    import wandb

_QUIET = {
    "WANDB_CONSOLE": "off",
    "WANDB_SILENT": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_HOST": "",
    "WANDB_X_DISABLE_META": "true",  # user, paths, the command line
    "WANDB_X_DISABLE_MACHINE_INFO": "true",
    "WANDB_X_DISABLE_STATS": "true",  # they would be those of the tracker's process
    "WANDB_X_SAVE_REQUIREMENTS": "false",
}
"""What it would send or print by itself, switched off where the user has not said otherwise."""


@register("wandb", "wandb", "`pip install wandb`")
class WandB:
    """Sends to the project ``WANDB_PROJECT``, else the suite's name; wandb's own variables say where and how."""

    def __init__(self, folder: Path, suite: str) -> None:
        for key, value in _QUIET.items():
            os.environ.setdefault(key, value)
        import wandb

        self.wandb, self.project = wandb, os.environ.get("WANDB_PROJECT") or suite
        self.folder = os.environ.get("WANDB_DIR") or str(folder)
        if wandb.Settings().mode == "online":
            try:
                wandb.login(verify=False)  # asks for no server, only whether there is a key
            except wandb.errors.UsageError as error:
                raise UsageError(f"{error} Or set WANDB_MODE=offline, and `wandb sync` later.") from None

    def begin(self, cell: Named) -> _Run:
        """Begin a run, with the settings as its configuration."""
        name = " ".join((*cell.group, cell.own))
        run = self.wandb.init(
            project=self.project,
            name=name,
            group=" ".join(cell.group),
            job_type=cell.measure,
            config={**cell.settings, "cell": cell.id},
            dir=self.folder,
            reinit="create_new",  # cells run side by side
        )
        return _Run(run)


class _Run:
    def __init__(self, run: wandb.Run) -> None:
        self.run = run

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=number)

    def end(self, epochs: int, ended: Ended) -> None:
        self.run.summary.update({**(ended.metrics or {}), "status": ended.status, "reason": ended.reason})
        self.run.finish(exit_code=0 if ended.result else 1)
