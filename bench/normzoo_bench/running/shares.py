"""What a job asks of a node of a cluster, and how many such jobs the nodes can hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from normzoo_bench.errors import UsageError
from normzoo_bench.running.worker import TIMED
from normzoo_suites import Cell
from normzoo_suites.settings import AccuracySettings, SyncCostSettings


@dataclass(frozen=True)
class Share:
    """A part of one node.

    Attributes:
        cpus: how many CPUs it has at least.
        gpus: how many GPUs; less than one for several jobs on a GPU.
        whole: whether all CPUs of the node are kept free for it.

    """

    cpus: int
    gpus: float = 0.0
    whole: bool = False

    def __str__(self) -> str:
        return _counted(self.cpus, "CPU") + (f" and {_counted(self.gpus, 'GPU')}" if self.gpus else "")


@dataclass(frozen=True)
class Node:
    """A node that is up: its name in the cluster, and what it has in all."""

    id: str
    cpus: float
    gpus: float


def share(cells: Iterable[Cell], gpu_share: float) -> Share:
    """Give what cells need that are measured one after another, or together; a training on a GPU has that share of it.

    Ranks that are processes have a CPU each, and a GPU each on CUDA, on one node: they are one group. What is timed on
    a CPU has a node's CPUs for itself, what is timed on a GPU has the GPU.
    """
    shares = [_share(cell, gpu_share) for cell in cells]
    return Share(max(one.cpus for one in shares), max(one.gpus for one in shares), any(one.whole for one in shares))


def _share(cell: Cell, gpu_share: float) -> Share:
    settings, timed = cell.settings, cell.measure in TIMED
    ranks = _processes(cell)
    gpus = 0.0 if settings.device == "cpu" else float(ranks or 1) if timed or ranks else gpu_share
    threads = getattr(settings, "threads", 1)  # of what is timed
    return Share((ranks or 1) * threads, gpus, whole=timed and settings.device == "cpu")


def _processes(cell: Cell) -> int:
    """Count the processes of a cell's ranks; 0 where ranks are none."""
    settings = cell.settings
    if isinstance(settings, SyncCostSettings):
        return settings.ranks
    return settings.ranks if isinstance(settings, AccuracySettings) and settings.ranks_backend == "process" else 0


def fits(wanted: Share, node: Node) -> bool:
    """Tell whether a node can hold a job that has nothing beside it."""
    return _room(wanted, node) > 0


def room(wanted: Share, nodes: Iterable[Node]) -> int:
    """Count the jobs of such a share that all nodes together can hold at once."""
    return sum(_room(wanted, node) for node in nodes)


def _room(wanted: Share, node: Node) -> int:
    by_cpus = int(node.cpus // wanted.cpus)
    if wanted.whole:
        by_cpus = min(by_cpus, 1)
    if not wanted.gpus:
        return by_cpus
    # a part of a GPU is a part of one: what two of them have left over does not add up
    by_gpus = int(node.gpus // wanted.gpus) if wanted.gpus >= 1 else int(node.gpus) * int(1 / wanted.gpus + 1e-9)
    return min(by_cpus, by_gpus)


def check(cells: Iterable[Cell], nodes: Sequence[Node], gpu_share: float) -> None:
    """Require for every cell a node that can hold it.

    Raises:
        UsageError: naming what no node has, and the largest that there is.

    """
    for cell in cells:
        wanted = share([cell], gpu_share)
        if not any(fits(wanted, node) for node in nodes):
            raise UsageError(
                f"{_described(cell)} needs {wanted} on one node, and no node of the cluster has them: {_most(nodes)}; "
                f"change the plan with --set or --device, or start such a node with `ray start`"
            )


def _described(cell: Cell) -> str:
    processes = f", whose {ranks} ranks are processes," if (ranks := _processes(cell)) else ""
    return f"a cell of {cell.measure} ({cell.settings.normalizer}, on {cell.settings.device}){processes}"


def _most(nodes: Sequence[Node]) -> str:
    most = Share(int(max((node.cpus for node in nodes), default=0)), max((node.gpus for node in nodes), default=0.0))
    those = "there is 1 node" if len(nodes) == 1 else f"there are {len(nodes)} nodes"
    return f"{those} with {_counted(most.cpus, 'CPU')} and {_counted(most.gpus, 'GPU')} at most"


def _counted(count: float, what: str) -> str:
    return f"{count:g} {what}{'' if count == 1 else 's'}"
