"""A plan's time, added up from what each of its tasks is likely to take."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from normzoo_bench.cost.knowledge import Basis, Known
from normzoo_bench.cost.work import Work


@dataclass(frozen=True)
class Row:
    """One measure on one device.

    Attributes:
        device: ``cpu`` or ``cuda``.
        measure: what is measured.
        cells: how many are to do.
        seconds: of one worker, for those that have an estimate.
        without: how many have none.
        bases: what the others are estimated by.

    """

    device: str
    measure: str
    cells: int
    seconds: float
    without: int
    bases: tuple[Basis, ...]


@dataclass(frozen=True)
class Estimate:
    """What a plan will take.

    Attributes:
        rows: by device and measure.
        shares: by id, each cell's share of the seconds of its task; a cell that waits for its tuning goes by the id
            that it has until then.
        seconds: from beginning to end, with ``jobs`` workers, of what has an estimate.
        jobs: worker processes.

    """

    rows: tuple[Row, ...]
    shares: Mapping[str, float]
    seconds: float
    jobs: int

    @property
    def without(self) -> int:
        """Count the cells without an estimate."""
        return sum(row.without for row in self.rows)


def estimate(work: Sequence[Work], known: Known, jobs: int) -> Estimate:
    """Add up what these tasks are likely to take with so many workers."""
    tasks = {id(one.task): one.task for one in work}  # seeds of one cell have one task: predicted once
    found = {number: known.predict(task) for number, task in tasks.items()}
    told = [(one, found[id(one.task)]) for one in work]
    seconds = [(one, own[0]) for one, own in told if own is not None]
    lines: dict[tuple[str, str], list[tuple[Work, tuple[float, Basis] | None]]] = defaultdict(list)
    for one, own in told:
        lines[one.task.settings.device, one.task.measure].append((one, own))
    return Estimate(
        tuple(_row(device, measure, line) for (device, measure), line in lines.items()),
        {cell.id: took / len(one.cells) for one, took in seconds for cell in one.cells},
        _from_beginning_to_end(seconds, jobs),
        jobs,
    )


def _row(device: str, measure: str, own: Sequence[tuple[Work, tuple[float, Basis] | None]]) -> Row:
    counts: dict[Basis, int] = defaultdict(int)
    for one, found in own:
        if found is not None:
            counts[found[1]] += len(one.cells)
    cells = sum(len(one.cells) for one, _ in own)
    seconds = sum(found[0] for _, found in own if found is not None)
    bases = tuple(dataclasses.replace(basis, cells=count) for basis, count in counts.items())
    return Row(device, measure, cells, seconds, cells - sum(counts.values()), bases)


def _from_beginning_to_end(seconds: Sequence[tuple[Work, float]], jobs: int) -> float:
    """Add up trials side by side, then trainings side by side, then what is timed, one by one."""
    whole = sum(took for one, took in seconds if one.timed)
    for trial in (True, False):
        own = [took for one, took in seconds if not one.timed and one.trial is trial]
        whole += max(sum(own) / jobs, max(own)) if own else 0.0  # nothing is over before its longest training
    return whole
