"""Which normalizer is how good over several data sets: average ranks, condition by condition."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from normzoo_reports import words
from normzoo_reports.findings.gaps import left_out, without_gaps
from normzoo_reports.findings.scores import scores
from normzoo_reports.load import telling_apart
from normzoo_reports.statistics.ranks import TEST_FROM, Ranks, places, rank
from normzoo_reports.tables import conditions
from normzoo_suites import Run
from normzoo_suites.claims import ALPHA

_BLOCK = ("dataset", "model")
_NORMALIZERS, _DATASETS = 3, 2  # fewer have no ranks worth a table


@dataclass(frozen=True)
class Ranking:
    """Normalizers ranked under one condition.

    Attributes:
        condition: the settings that vary within data sets, in words.
        ranks: the average ranks, and what the tests say.
        blocks: what was ranked within: the data sets, or pairs of data set and model.
        rows: for each normalizer its name, its average rank, and in each block its accuracy, its rank and the first
            of its cells.
        told: what stands behind the ranks and what follows, in words.
        cells: by normalizer, the first of its cells.

    """

    condition: str
    ranks: Ranks
    blocks: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[tuple[str, str, str], ...]], ...]
    told: tuple[str, ...]
    cells: dict[str, str]


def rankings(run: Run, table: pd.DataFrame) -> list[Ranking]:
    """Rank the normalizers under each condition that at least 3 of them met on at least 2 data sets.

    A block is a pair of data set and model, with its mean accuracy over seeds; named by the data set alone where the
    run has one model. Settings that differ between blocks only, such as epochs, belong to the block.
    """
    metric, rows = scores(run, table)
    if rows.empty or rows["dataset"].nunique() < _DATASETS:
        return []
    apart = telling_apart(rows, run)
    by_block = rows.groupby(list(_BLOCK), sort=False)
    varied = [key for key in apart if key not in _BLOCK and by_block[key].nunique().max() > 1]
    rows = rows.assign(block=conditions(rows, [key for key in _BLOCK if key == "dataset" or key in apart]))
    names = conditions(rows, varied)
    made = (_ranking(str(name), group, metric) for name, group in rows.groupby(names, sort=False))
    return [one for one in made if one is not None]


def _ranking(name: str, rows: pd.DataFrame, metric: str) -> Ranking | None:
    means = rows.groupby(["block", "normalizer"], sort=False)[metric].mean().unstack()
    means = means.reindex(index=rows["block"].unique(), columns=rows["normalizer"].unique())  # in order of appearance
    kept = without_gaps(means)
    counted = rows[rows["block"].isin(kept.index) & rows["normalizer"].isin(kept.columns)]
    datasets = counted["dataset"].nunique()
    if kept.shape[1] < _NORMALIZERS or datasets < _DATASETS:
        return None
    found, by_block = rank(kept), places(kept)
    first = counted.groupby(["normalizer", "block"])["id"].first()
    lines = tuple(
        (one, f"{average:.2f}", _places(metric, kept[one], by_block[one], first[one]))
        for one, average in zip(found.names, found.average, strict=True)
    )
    told = (_rests_on(counted, found.blocks, datasets), _tested(found, datasets), left_out(means, kept))
    cells = {one: str(first[one, kept.index[0]]) for one in found.names}
    return Ranking(name, found, tuple(map(str, kept.index)), lines, tuple(filter(None, told)), cells)


def _places(metric: str, values: pd.Series, ranks: pd.Series, cells: pd.Series) -> tuple[tuple[str, str, str], ...]:
    told = zip(values, ranks, cells[values.index], strict=True)
    return tuple((words.show(metric, value), f"{place:g}", str(cell)) for value, place, cell in told)


def _rests_on(rows: pd.DataFrame, blocks: int, datasets: int) -> str:
    """Say what a block is, and how many seeds its accuracies are means over."""
    seeds = rows.groupby(["block", "normalizer"]).size()
    number = " to ".join(dict.fromkeys([str(seeds.min()), words.count(int(seeds.max()), "seed")]))
    if seeds.min() == seeds.max():
        number = words.count(int(seeds.max()), "seed")
    means = f"accuracies are means over {number}"
    if blocks == datasets:
        return f"Ranked within each of {words.count(blocks, 'data set')}; {means}."
    return (
        f"Ranked within each of {blocks} pairs of data set and model, on {words.count(datasets, 'data set')}; {means}. "
        "Pairs that share a data set are not independent of each other, as a test takes them to be: it speaks of such "
        "pairs and not of further data sets."
    )


def _tested(found: Ranks, datasets: int) -> str:
    what = words.count(found.blocks, "data set") if found.blocks == datasets else words.count(found.blocks, "pair")
    if found.blocks < TEST_FROM:
        return f"{what}: ranks are shown, no test; it takes {TEST_FROM}."
    if found.p is None or found.critical is None:
        return "All are tied everywhere."
    p = f"p = {found.p:.2g}" if found.p >= 0.0001 else "p < 0.0001"
    if found.p > ALPHA:
        return f"Friedman's test shows no difference between them over {what} ({p})."
    return (
        f"Friedman's test: they differ over {what} ({p}). By Nemenyi's test two of them differ where their average "
        f"ranks are at least {found.critical:.2f} apart, the critical difference{_alike(found)}."
    )


def _alike(found: Ranks) -> str:
    return f"; not told apart: {'; '.join(words.listed(group) for group in found.groups)}" if found.groups else ""
