"""Which normalizer is fastest, or takes least memory, and which is the other end: a sentence per table and column.

A speed is claimed from fresh processes only; where there are fewer than 6 of them the numbers are told, and no more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest

import pandas as pd

from normzoo_reports import words
from normzoo_reports.findings.contest import Contest, Entrant, candidates, contest, named, pairs_needed
from normzoo_reports.findings.costs import Weighed, weighed
from normzoo_reports.load import records
from normzoo_reports.results import Estimate, Sentence
from normzoo_reports.statistics.signs import INTERVAL_FROM
from normzoo_reports.tables import LAYER
from normzoo_suites import Run

_CONTROL = "none"  # of speeds the question is which normalizer, and it is none
_OF = {
    ("throughput", "hot"): "a layer, hot",
    ("throughput", "cold"): "a layer, cold",
    ("model_throughput", ""): "a model's step",
    ("memory", "peak"): "memory at the peak",
    ("memory", "largest_batch"): "the largest batch that fits",
    ("sync_cost", ""): "a step of all ranks",
}
_UNITS = {"peak_mib": " MiB", "largest_batch": " images"}
_HOW = (
    "Fastest and slowest: against every other one, repeat by repeat, from at least {} fresh processes (exact sign "
    "flips, Holm over all {}). Elsewhere only the smallest and the largest number stand, and another process may "
    "differ by more."
)
_UNNAMED = (
    "Of costs the smallest and the largest number are told: naming a fastest takes at least {} fresh processes, and "
    "another process may differ by more."
)


@dataclass(frozen=True)
class Pace:
    """One column of a table of what was timed or weighed.

    Attributes:
        where: what it is of.
        section: the id of the page's section with the numbers.
        estimates: by normalizer, the least first: those that were measured on the same layers, and at least two.
        quickest: who needs least, where there are repeats to pair; else None.
        slowest: who needs most, likewise.
        elsewhere: who was measured on other layers, or on some of these, in words.
        processes: how many fresh ones each number rests on, the fewest and the most.

    """

    where: str
    section: str
    estimates: tuple[tuple[str, Estimate], ...]
    quickest: Contest | None
    slowest: Contest | None
    elsewhere: tuple[str, ...]
    processes: tuple[int, int]


def paces(run: Run, table: pd.DataFrame) -> tuple[list[Sentence], list[str]]:
    """Say who is fastest and who slowest, the tables in turn, and how that was come by."""
    by_table = [list(_columns(one)) for one in weighed(run, table)]
    found = [one for one in chain.from_iterable(zip_longest(*by_table)) if one is not None]
    every = [end for one in found for end in (one.quickest, one.slowest) if end]
    needed = max(INTERVAL_FROM, pairs_needed(candidates(every)))
    sure = {id(end): told for end, told in zip(every, named(every), strict=True)}
    tested = [
        one for one in found if one.quickest and one.quickest.n >= max(needed, pairs_needed(one.quickest.comparisons))
    ]
    said = [Sentence(one.where, _tested(one, sure) if one in tested else _told(one), one.section) for one in found]
    how = _HOW.format(needed, words.count(candidates(every), "candidate")) if tested else _UNNAMED.format(needed)
    return said, [how] if said else []


def _columns(one: Weighed) -> Iterator[Pace]:
    """Give the columns in which two can be compared."""
    kept = ~one.rows["unsynchronized"] & (one.rows["normalizer"] != _CONTROL)
    for name, rows in one.rows[kept].groupby(one.names[kept], sort=False):
        own = {str(key): group for key, group in rows.groupby("normalizer", sort=False)}
        layers = {key: layers_of(group, one.metric) for key, group in own.items()}
        (shared, number), *_ = Counter(layers.values()).most_common() or [(frozenset(), 0)]
        if number < 2 or not shared:
            continue
        beside = {key: group for key, group in own.items() if layers[key] == shared}
        found = {key: one.sum_up(group, one.metric) for key, group in beside.items()}
        made = sorted(
            ((key, told) for key, told in found.items() if isinstance(told, Estimate)), key=lambda pair: pair[1].value
        )
        if len(made) < 2:  # times that no clock gives have no mean
            continue
        pairs = [Entrant((key,), _by_repeat(group, one.metric, len(shared))) for key, group in beside.items()]
        paired = one.metric not in _UNITS and min(len(entrant.values) for entrant in pairs) >= INTERVAL_FROM
        where = ", ".join(filter(None, (_OF[one.measure, one.kind], str(name))))
        yield Pace(
            where,
            one.measure,
            tuple(made),
            contest(where, pairs, -1) if paired else None,
            contest(where, pairs) if paired else None,
            tuple(_other(key, layers[key], shared) for key in own if layers[key] and layers[key] != shared),
            _processes([_measured(group, one.metric) for group in beside.values()]),
        )


def layers_of(rows: pd.DataFrame, metric: str) -> frozenset[tuple[object, ...]]:
    """Name what a normalizer was measured on: means over different layers are never compared."""
    measured = _measured(rows, metric)
    keys = [key for key in LAYER if key in measured] if str(rows["measure"].iloc[0]) == "throughput" else []
    return frozenset(tuple(row[key] for key in keys) for row in records(measured))


def _measured(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    return rows[rows[metric].notna()] if metric in rows else rows[:0]


def _processes(groups: list[pd.DataFrame]) -> tuple[int, int]:
    """Count the repeats of what was measured least and most often."""
    rows = pd.concat(groups)
    keys = LAYER if str(rows["measure"].iloc[0]) == "throughput" else ()
    counts = rows.groupby(["normalizer", *keys])["repeat"].nunique()
    return int(counts.min()), int(counts.max())


def _other(name: str, own: frozenset[tuple[object, ...]], shared: frozenset[tuple[object, ...]]) -> str:
    common = len(own & shared)
    return f"{name} was timed on {f'{common} of these {len(shared)}' if common else 'other'} layers"


def _by_repeat(rows: pd.DataFrame, metric: str, layers: int) -> dict[int, float]:
    """Give the geometric mean over the layers by repeat, of the repeats that have them all."""
    found: dict[int, list[float]] = {}
    for row in records(rows[rows[metric] > 0]):
        found.setdefault(int(row["repeat"]), []).append(math.log(row[metric]))
    return {repeat: math.exp(math.fsum(logs) / layers) for repeat, logs in found.items() if len(logs) == layers}


def _tested(one: Pace, sure: dict[int, bool]) -> str:
    """Tell both ends as tests have them."""
    estimates = {key: found.text for key, found in one.estimates}
    parts: list[str] = []
    for word, end in (("fastest", one.quickest), ("slowest", one.slowest)):
        if end is None or (parts and len(end.entrants) == 2 and sure[id(end)]):
            continue  # of two the other one is the slower
        behind = end.behind()
        tied = [f"{entrant.name} ({estimates[entrant.name]})" for entrant in end.entrants if entrant not in behind]
        if sure[id(end)]:
            parts.append(f"{word} is {end.first.name}, {_against(dict(one.estimates)[end.first.name])}")
        elif len(tied) == 1:
            parts.append(f"{word} on average is {tied[0]}, which is not shown of all")
        else:
            parts.append(f"{word}: no difference found between {words.listed(tied)}")
    return f"{'; '.join(parts)}{_elsewhere(one)}."


def _told(one: Pace) -> str:
    """Tell the smallest and the largest number, and what they rest on."""
    (low, least), (high, most) = one.estimates[0], one.estimates[-1]
    spread = {"layer": "the range over layers", "sample": "10th to 90th percentile"}.get(least.over, "")
    rests = [spread] if spread and least.range else []
    least_often, most_often = one.processes
    counted = f"{least_often} to {most_often} processes" if least_often < most_often else ""
    rests += [f"{counted or ('1 process' if most_often == 1 else f'{most_often} processes')} each"]
    told = f"from {_against(least)} ({low}) to {most.text}{_UNITS.get(most.metric, '')} ({high})"
    return f"{told}; {', '.join(rests)}{_elsewhere(one)}."


def _against(found: Estimate) -> str:
    """Show a ratio, and to what, or a plain number with its unit."""
    if found.metric in _UNITS:
        return f"{found.point}{_UNITS[found.metric]} {found.range}".rstrip()
    reference = "local batch norm's" if "sync" in found.metric else "batch norm's"
    return f"{found.point} {reference} time {found.range}".rstrip()


def _elsewhere(one: Pace) -> str:
    return "".join(f"; {told}" for told in one.elsewhere)
