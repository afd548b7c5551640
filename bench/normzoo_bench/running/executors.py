"""Where cells are measured: in processes of this machine, on a cluster, or by torchrun's ranks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator

from normzoo_bench.planner import Plan
from normzoo_bench.processes import machines
from normzoo_bench.running import pool
from normzoo_bench.running.rounds import Options, Take
from normzoo_bench.running.worker import Outcome
from normzoo_suites import Cell

Outcomes = Callable[[Plan, list[Cell], Take], Generator[tuple[Cell, Outcome], None, None]]
"""Yields cells with how they ended, as they end; what ``Take`` refuses when its turn comes is left out."""


@contextlib.contextmanager
def executor(options: Options, warn: Callable[[str], None]) -> Iterator[Outcomes]:
    """Give what measures cells; what it has joined or started for that ends with the block.

    ``warn`` is told what whoever runs this should know.

    Raises:
        UsageError: when there is no such executor here.

    """
    if machines.joined():
        yield lambda plan, cells, _: machines.outcomes(plan, cells)
    elif options.executor == "ray":
        from normzoo_bench.running.on_ray import OnRay

        with OnRay(options, warn) as cluster:
            yield cluster.outcomes
    else:
        yield lambda plan, cells, take: pool.outcomes(plan, cells, options, take)
