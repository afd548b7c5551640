"""Where a run was measured: its machines and versions, and in what they differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from normzoo_reports import words
from normzoo_suites import Run

_OF_ONE_MEASURE = ("threads", "precision")
"""What environments hold of one measure's cells only: timings choose their threads, trainings have a precision."""


@dataclass(frozen=True)
class Environment:
    """A machine and its versions, and how many cells were measured there."""

    cells: int
    facts: tuple[tuple[str, str], ...]


def environments(run: Run) -> list[Environment]:
    """Give the distinct environments in which the run's cells were measured, the most used first.

    Skipped cells were measured nowhere. ``threads`` is a setting of a timing, and no difference of its environment.
    """
    counts: Counter[str] = Counter()
    timed: Counter[str] = Counter()
    for cell in run.cells or run.trials:
        record = run.records.get(cell.id)
        if record is None or record.status == "skipped" or not record.environment or cell.same_as is not None:
            continue
        if "threads" in record.settings:
            timed[_key(record.environment, but=_OF_ONE_MEASURE)] += 1
        else:
            counts[_key(record.environment)] += 1
    homes = {_key(json.loads(key), but=_OF_ONE_MEASURE): key for key, _ in reversed(counts.most_common())}
    for key, number in timed.items():
        counts[homes.get(key, key)] += number
    return [Environment(number, _facts(json.loads(key))) for key, number in counts.most_common()]


def differing(found: Iterable[Environment]) -> list[str]:
    """Name the facts in which environments differ."""
    facts = [dict(environment.facts) for environment in found]
    return sorted({key for one in facts for key in one for other in facts if other.get(key) != one[key]})


def _key(environment: dict[str, Any], but: Collection[str] = ()) -> str:
    kept = {key: value for key, value in environment.items() if key not in but}
    return json.dumps(kept, sort_keys=True, default=str)


def _facts(environment: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((key, words.plain_value(value)) for key, value in environment.items() if value not in ("", None))
