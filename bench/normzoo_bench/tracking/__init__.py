"""Live curves for the trackers that people use: TensorBoard, MLflow, Weights & Biases.

A tracker works in a process of its own and reads a folder (``follow``) into which workers write every epoch, and the
runner how every cell ended (``spool``). So nothing of a measurement waits for it, and whatever a tracker's library
does to its process, no cell and no run fails with it. ``session`` starts and ends these processes; ``registry`` knows
the trackers, a file for each.
"""

from normzoo_bench.tracking import mlflow, tensorboard, wandb  # each adds its own
from normzoo_bench.tracking.registry import check
from normzoo_bench.tracking.session import Session, started
from normzoo_bench.tracking.spool import NOWHERE, Spool, begin, spool, spooling

__all__ = [
    "NOWHERE",
    "Session",
    "Spool",
    "begin",
    "check",
    "mlflow",
    "spool",
    "spooling",
    "started",
    "tensorboard",
    "wandb",
]
