"""On how many layers a normalizer is how fast: performance profiles of what was timed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from normzoo_reports import words
from normzoo_reports.findings.costs import kinds
from normzoo_reports.findings.gaps import left_out, without_gaps
from normzoo_reports.load import telling_apart
from normzoo_reports.statistics.profiles import Floats, to_best, within
from normzoo_reports.tables import LAYER, conditions, unsynchronized
from normzoo_suites import Run

LAYERS = 5
"""Fewer layers are told better one by one."""

_METRIC = "step_ms_ratio"
_FACTORS = (1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_CONTROL = "none"
_NOT_YET = ("missing", "waiting", "unreadable")


@dataclass(frozen=True)
class Profile:
    """Curves, with their numbers.

    Attributes:
        title: what of.
        told: what stands behind it, in words.
        heads: the heads of the table's columns.
        rows: by panel, for each normalizer its name and its numbers, each with a cell behind it.

    """

    title: str
    told: tuple[str, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, tuple[tuple[str, str], ...]], ...]], ...]


@dataclass(frozen=True)
class Times(Profile):
    """Times of layers.

    Attributes:
        ratios: by direction, for each normalizer its time on each layer as a multiple of the fastest one there; it is
            infinite where it failed.

    """

    ratios: dict[str, dict[str, Floats]]


def times(run: Run, table: pd.DataFrame) -> list[Times]:
    """Give a profile for every group of cells that differ in layer, direction, normalizer and repeat alone.

    A direction is shown from 5 layers on. A layer's time is the ratio to batch norm's, paired, for milliseconds of two
    rows may have met the machine at different moments. The control ``none`` normalizes nothing and is left out.
    """
    rows = table[(table["measure"] == "throughput") & (table["normalizer"] != _CONTROL)]
    if _METRIC not in rows or rows[_METRIC].isna().all():
        return []
    apart = [key for key in telling_apart(rows, run) if key not in (*LAYER, "direction", "cache")]
    found = []
    for kind, part in kinds(rows, "throughput"):
        names = conditions(part, apart)
        for name, group in part.groupby(names, sort=False):
            found += _times(", ".join(filter(None, (kind, str(name)))), group)
    return found


def _times(name: str, rows: pd.DataFrame) -> list[Times]:
    """Give one profile, or none where no direction has enough layers."""
    told, ratios, cells = list[str](), dict[str, dict[str, Floats]](), dict[str, pd.DataFrame]()
    for direction, part in rows.groupby("direction", sort=False):
        whole, ids = _layers(part)
        kept = without_gaps(whole)
        kept = kept[np.isfinite(kept.to_numpy(dtype=float)).any(axis=1)]  # where nobody is left there is no fastest
        if len(kept) >= LAYERS and kept.shape[1] > 1:
            found = to_best(kept.to_numpy(dtype=float))
            ratios[str(direction)] = {str(one): found[:, place] for place, one in enumerate(kept)}
            cells[str(direction)] = ids.loc[kept.index]
            told.append(f"{direction}: {_rests_on(part, kept)}. {left_out(whole, kept)}".rstrip())
    if not ratios:
        return []
    factors = _factors(ratios)
    lines = [
        (direction, tuple((one, _shares(values, factors, cells[direction][one])) for one, values in own.items()))
        for direction, own in ratios.items()
    ]
    heads = (*("fastest" if factor == 1 else f"within {factor:g}×" for factor in factors), "farthest")
    told += filter(None, [unsynchronized(rows)])
    return [Times(f"Layers within a factor of the fastest, {name}", tuple(told), heads, tuple(lines), ratios)]


def _layers(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give the times, a row per layer and a column per normalizer, and the first cell of each.

    What failed took for ever. Gaps are what has no cell or is not measured yet.
    """
    rows = rows.assign(layer=conditions(rows, LAYER), waits=rows["status"].isin(_NOT_YET))
    cells = rows.groupby(["layer", "normalizer"], sort=False).agg({_METRIC: "mean", "waits": "any", "id": "first"})
    cells.loc[cells[_METRIC].isna() & ~cells["waits"], _METRIC] = math.inf
    layers, normalizers = rows["layer"].unique(), rows["normalizer"].unique()
    times, ids = (cells[key].unstack().reindex(index=layers, columns=normalizers) for key in (_METRIC, "id"))
    return times, ids


def _rests_on(rows: pd.DataFrame, layers: pd.DataFrame) -> str:
    repeats = rows["repeat"].nunique()
    means = f"the mean over {words.count(repeats, 'repeat')}" if repeats > 1 else "of one process"
    failed = int(np.isinf(layers.to_numpy(dtype=float)).sum())
    lost = f"; {words.count(failed, 'time')} that could not be taken count as never within" if failed else ""
    return f"{words.count(len(layers), 'layer')}, each time {means}{lost}"


def _factors(ratios: dict[str, dict[str, Floats]]) -> tuple[float, ...]:
    """Give the table's factors, up to the first that is beyond all times."""
    every = np.concatenate([values for own in ratios.values() for values in own.values()])
    largest = float(every[np.isfinite(every)].max())
    return tuple(factor for before, factor in zip((0, 0, *_FACTORS[1:]), _FACTORS, strict=False) if before < largest)


def _shares(ratios: Floats, factors: tuple[float, ...], cells: pd.Series) -> tuple[tuple[str, str], ...]:
    """Give the numbers of a row: shares lead to the layer on which it does best, the farthest ratio to its own."""
    best, worst = str(cells.iloc[ratios.argmin()]), str(cells.iloc[ratios.argmax()])
    farthest = f"{ratios.max():.2f}×" if np.isfinite(ratios).all() else "failed"
    return (*((f"{within(ratios, factor)} of {len(ratios)}", best) for factor in factors), (farthest, worst))
