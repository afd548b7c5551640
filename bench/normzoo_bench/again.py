"""A stored record held against a new one of the same cell. Needs no torch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from normzoo_suites import FINAL, Record, Run
from normzoo_suites.settings import MEASURES, TrainingSettings

SPREADS = 3.0
"""So many standard deviations of the seeds may lie between two values that agree."""

_IRRELEVANT = {"commit", "dirty"}  # `code` says whether what was measured with is another


@dataclass(frozen=True)
class Metric:
    """One number of a cell, stored and measured again.

    Attributes:
        name: the metric.
        stored: as the run has it; None where it has none.
        again: as it is now.
        spread: the standard deviation over the seeds, or repeats, of this condition in the run; None for fewer than 2.
        exact: whether it has to be the same to the bit.

    """

    name: str
    stored: float | None
    again: float | None
    spread: float | None
    exact: bool

    @property
    def difference(self) -> float | None:
        """How much more it is now."""
        return None if self.stored is None or self.again is None else self.again - self.stored

    @property
    def spreads(self) -> float | None:
        """The difference in units of the seed spread; None where there is no spread, or it is 0."""
        return self.difference / self.spread if self.difference is not None and self.spread else None

    @property
    def agrees(self) -> bool:
        """Whether it is the same number, or one that another seed could have given where it need not be the same."""
        if self.stored == self.again:
            return True
        return not self.exact and self.spreads is not None and abs(self.spreads) <= SPREADS


@dataclass(frozen=True)
class Reproduced:
    """What measuring a cell again has shown.

    Attributes:
        stored: the run's record.
        again: the new one.
        metrics: their numbers side by side.
        exact: whether all of it, every epoch too, has to be the same to the bit.
        environment: by name, what the environment was and is, where that differs.
        changes: what of the cell itself is not what it was: its normalizer's source, its data; in words.

    """

    stored: Record
    again: Record
    metrics: tuple[Metric, ...]
    exact: bool
    environment: Mapping[str, tuple[Any, Any]]
    changes: tuple[str, ...]

    @property
    def counted(self) -> str:
        """Name what tells repeats of its experiment apart: ``seed`` or ``repeat``."""
        return MEASURES[self.stored.measure].REPLICATES

    @property
    def same_to_the_bit(self) -> bool:
        """Whether all numbers, those of every epoch too, are the same."""
        one, other = self.stored, self.again
        return (one.status, one.metrics, one.series) == (other.status, other.metrics, other.series)

    @property
    def exit_code(self) -> int:
        """0 when all numbers agree, 3 when some do not, 1 when the cell failed."""
        if self.again.status not in FINAL:
            return 1
        agrees = self.stored.status == self.again.status and all(one.agrees for one in self.metrics)
        return 0 if agrees and (self.same_to_the_bit or not self.exact) else 3

    def to_json(self) -> dict[str, Any]:
        """Give all of it for machines."""
        return {
            "id": self.stored.id,
            "status": {"stored": self.stored.status, "again": self.again.status},
            "reason": {"stored": self.stored.reason, "again": self.again.reason},
            "same_to_the_bit": self.same_to_the_bit,
            "metrics": {
                one.name: {
                    "stored": one.stored,
                    "again": one.again,
                    "difference": one.difference,
                    "spread": one.spread,
                    "spreads": one.spreads,
                    "agrees": one.agrees,
                }
                for one in self.metrics
            },
            "environment": {name: {"stored": was, "again": now} for name, (was, now) in self.environment.items()},
            "changes": list(self.changes),
            "exit_code": self.exit_code,
        }


def compared(run: Run, stored: Record, again: Record, changes: Sequence[str] = ()) -> Reproduced:
    """Hold a new record of a cell of a run against the stored one.

    A training on a CPU has to give the same numbers to the bit, unless versions, hardware, code or what was measured
    have changed since; anything else may differ as much as seeds do.
    """
    environment = {
        name: (stored.environment.get(name, ""), again.environment.get(name, ""))
        for name in sorted(stored.environment.keys() | again.environment.keys())
        if stored.environment.get(name, "") != again.environment.get(name, "")
    }
    trained_on_cpu = issubclass(MEASURES[stored.measure], TrainingSettings) and stored.settings.get("device") == "cpu"
    exact = trained_on_cpu and not changes and not environment.keys() - _IRRELEVANT
    alike = _alike(run, stored)
    metrics = tuple(
        Metric(name, stored.metrics.get(name), again.metrics.get(name), _spread(alike, name), exact)
        for name in dict.fromkeys((*stored.metrics, *again.metrics))
    )
    return Reproduced(stored, again, metrics, exact, environment, tuple(changes))


def _alike(run: Run, stored: Record) -> list[Record]:
    """Give the run's records of the same condition, that of the cell itself among them."""
    counted = MEASURES[stored.measure].REPLICATES
    own = {key: value for key, value in stored.settings.items() if key != counted}
    return [
        record
        for record in {record.id: record for record in run.records.values()}.values()
        if record.measure == stored.measure and {k: v for k, v in record.settings.items() if k != counted} == own
    ]


def _spread(alike: Sequence[Record], name: str) -> float | None:
    values = [record.metrics[name] for record in alike if name in record.metrics]
    return statistics.stdev(values) if len(values) > 1 else None
