"""What changed from A to B: every outcome of every normalizer and condition, by paired differences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from normzoo_reports import words
from normzoo_reports.comparing.outcomes import OUTCOMES, How, Outcome
from normzoo_reports.comparing.pairing import Paired
from normzoo_reports.comparing.results import Change, Tone
from normzoo_reports.load import LARGEST, MEASURED, records
from normzoo_reports.statistics.signs import interval
from normzoo_suites.metrics import METRICS
from normzoo_suites.settings import MEASURES

ROUNDING = 1e-12
"""Of shares and ratios: what differs by less differs by the order of a sum alone."""

Pairs = Mapping[int, tuple[float, float]]
_Rows = list[tuple[dict[str, Any], dict[str, Any]]]


def changes(paired: Paired) -> tuple[Change, ...]:
    """Give what became of every outcome that either run has a value of, in the order of measuring."""
    found = []
    for measure, name, condition, rows in _conditions(paired):
        replicate = MEASURES[measure].REPLICATES
        for metric in METRICS[measure]:
            if metric in OUTCOMES:
                made = _change(measure, metric, (name, condition), replicate, rows)
                found += [made] if made.n or made.lost or made.gained else []
    order = {metric: place for place, metric in enumerate(OUTCOMES)}
    return tuple(sorted(found, key=lambda one: order[one.metric]))


def differences(pairs: Pairs, how: How) -> list[float]:
    """Give B's value less A's by pair; of a ratio the logarithm of B's over A's."""
    if how == "ratio":
        return [math.log(b) - math.log(a) for a, b in pairs.values()]
    return [b - a for a, b in pairs.values()]


def estimated(pairs: Pairs, how: How) -> tuple[float, tuple[float, float] | None]:
    """Give the mean change and its 95 % interval, None with fewer than 6 pairs.

    Of a ratio both are of the logarithms and given as a share: 0.05 is 5 % more. A change that is rounding alone is 0.
    """
    found = differences(pairs, how)
    shown = math.expm1 if how == "ratio" else float
    mean = shown(math.fsum(found) / len(found))
    ends = interval(found)
    return (0.0 if abs(mean) < ROUNDING else mean), ends and (shown(ends[0]), shown(ends[1]))


def _conditions(paired: Paired) -> Iterator[tuple[str, str, str, _Rows]]:
    """Give every normalizer under every condition: the measure, both names, and its pairs of rows."""
    groups: dict[tuple[Any, ...], _Rows] = {}
    for one, other in zip(records(paired.rows_a), records(paired.rows_b), strict=True):
        settings = MEASURES[one["measure"]]
        told = [str(one.get(key)) for key in settings.model_fields if key != settings.REPLICATES]
        groups.setdefault((one["measure"], *told), []).append((one, other))
    for (measure, *_), rows in groups.items():
        first = rows[0][0]
        yield measure, str(first["normalizer"]), words.condition(first, paired.keys[measure]), rows


def _change(measure: str, metric: str, names: tuple[str, str], replicate: str, rows: _Rows) -> Change:
    # chance against chance says nothing of either
    alive = [(a, b) for a, b in rows if not a["status"] == b["status"] == "diverged"]
    both = [(a, b) for a, b in alive if _has(a, metric) and _has(b, metric)]
    pairs = {int(a[replicate]): (float(a[metric]), float(b[metric])) for a, b in both}
    lost = Counter(_why(b) for a, b in rows if _has(a, metric) and not _has(b, metric))
    gained = Counter(_why(a) for a, b in rows if _has(b, metric) and not _has(a, metric))
    outcome = OUTCOMES[metric]
    how: How = "plain" if outcome.how == "ratio" and not _has_ratios(pairs) else outcome.how
    change, ends = estimated(pairs, how) if pairs else (None, None)
    tone = _tone(outcome, change, ends, pairs, _spreads_meet(both, metric))
    low, high = ends or (None, None)
    in_a, in_b = _mean([a for a, _ in pairs.values()], how), _mean([b for _, b in pairs.values()], how)
    return Change(
        measure,
        metric,
        *names,
        pairs,
        how,
        in_a,
        in_b,
        change,
        low,
        high,
        "lost" if lost else "gained" if gained and tone in ("open", "same") else tone,
        tuple(lost.items()),
        tuple(gained.items()),
        (_diverged(a for a, _ in both), _diverged(b for _, b in both)),
    )


def _tone(
    outcome: Outcome, change: float | None, ends: tuple[float, float] | None, pairs: Pairs, meeting: bool
) -> Tone:
    if change is None or all(a == b for a, b in pairs.values()):
        return "same"
    if ends is None:
        return "open" if meeting else "differs"
    if ends[0] <= ROUNDING and ends[1] >= -ROUNDING:
        return "open"
    if outcome.better == "neither":
        return "changed"
    return "better" if (change > 0) == (outcome.better == "higher") else "worse"


def _spreads_meet(both: _Rows, metric: str) -> bool:
    """Tell whether a time's 10th to 90th percentiles of A and of B meet in any pair: such a change may be noise."""
    low, high = f"{metric}_p10", f"{metric}_p90"
    spread = [(a, b) for a, b in both if all(_has(row, key) for row in (a, b) for key in (low, high))]
    signs = {(b[low] > a[high]) - (b[high] < a[low]) for a, b in spread}
    return 0 in signs or len(signs) > 1


def _has(row: Mapping[str, Any], metric: str) -> bool:
    value = row.get(metric)
    return value is not None and not math.isnan(value)


def _has_ratios(pairs: Pairs) -> bool:
    return all(min(pair) > 1 / LARGEST for pair in pairs.values())


def _mean(values: Sequence[float], how: How) -> float | None:
    if not values:
        return None
    if how == "ratio":
        return math.exp(math.fsum(map(math.log, values)) / len(values))
    return math.fsum(values) / len(values)


def _why(row: Mapping[str, Any]) -> str:
    """Say why a row has no value: what became of the cell, or that it has none of this metric."""
    status = str(row["status"])
    return "no value" if status in MEASURED else words.STATUS.get(status, status)


def _diverged(rows: Iterator[Mapping[str, Any]]) -> int:
    return sum(row["status"] == "diverged" for row in rows)
