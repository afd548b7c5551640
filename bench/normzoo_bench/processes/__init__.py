"""Ranks as real processes under torch.distributed: gloo on CPU, NCCL on GPUs.

They train, and compute what virtual ranks compute; or their steps are timed. ``launch`` starts the ranks of one job on
this machine, by torch's elastic launcher; ``rank`` is what each of them runs, ``training`` its share of the steps of a
training; ``machines`` is the command line under torchrun, for ranks on several machines. ``check`` says before what
cannot be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the process of a rank imports this package before it is ready to import torch
    from normzoo_bench.accuracy import Ended
    from normzoo_bench.data import DataSet
    from normzoo_bench.processes.work import Asked
    from normzoo_bench.streamed import StreamedSet

__all__ = ["measure"]


def measure(cells: Sequence[Asked], data: DataSet | StreamedSet | None = None) -> list[Ended]:
    """Train or time cells one after another, each by as many processes as it has ranks.

    Cells that are trained have one ``data`` set, and differ in their seeds and readings; what is timed needs none.

    Raises:
        CannotRun: when a layer gets too few values for its statistic.
        RankFailed: when a rank's process died, or raised anything else.

    """
    from normzoo_bench.processes import launch, machines

    return machines.measure(cells, data) if machines.joined() else launch.measure(cells, data)
