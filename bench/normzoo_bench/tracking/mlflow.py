"""MLflow: a run for each cell, in the experiment that has the suite's name."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from normzoo_bench.tracking.names import Named
from normzoo_bench.tracking.registry import Ended, register

if TYPE_CHECKING:
    from mlflow import MlflowClient


@register("mlflow", "mlflow", "`pip install mlflow`")
class MLflow:
    """Sends to where ``MLFLOW_TRACKING_URI`` says; without it, to the database ``mlflow.db`` in the run folder."""

    def __init__(self, folder: Path, suite: str) -> None:
        # nothing is to be sent that was not asked for; whoever sets it otherwise has asked
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        server = os.environ.get("MLFLOW_TRACKING_URI")
        self.suite, self.client = suite, MlflowClient(server or f"sqlite:///{folder / 'mlflow.db'}")
        # what others may add to such a run is to lie beside it, and not where this process happens to be
        self.files = None if server else (folder / "mlruns").as_uri()

    def begin(self, cell: Named) -> _Run:
        """Begin a run, with the settings as its parameters."""
        from mlflow.entities import Param

        tags = {"normzoo.cell": cell.id, "normzoo.measure": cell.measure, "normzoo.group": " ".join(cell.group)}
        name = " ".join((*cell.group, cell.own))
        run = self.client.create_run(self.experiment, tags=tags, run_name=name).info.run_id
        self.client.log_batch(run, params=[Param(key, str(value)) for key, value in cell.settings.items()])
        return _Run(self.client, run)

    @cached_property
    def experiment(self) -> str:
        """Give the experiment's id; asked for when there is something to send, since a server may be slow or gone."""
        known = self.client.get_experiment_by_name(self.suite)
        return str(known.experiment_id if known else self.client.create_experiment(self.suite, self.files))


class _Run:
    def __init__(self, client: MlflowClient, run: str) -> None:
        self.client, self.run = client, run

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run, metrics=[Metric(name, value, now, number) for name, value in values.items()])

    def end(self, epochs: int, ended: Ended) -> None:
        if ended.metrics:
            self.epoch(epochs, ended.metrics)
        for tag, text in (("normzoo.status", ended.status), ("normzoo.reason", ended.reason)):
            if text:
                self.client.set_tag(self.run, tag, text)
        said = "FINISHED" if ended.result else "FAILED" if ended.metrics is not None else "KILLED"
        self.client.set_terminated(self.run, said)
