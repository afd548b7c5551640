"""Who had which data: one picture for each way of splitting, drawing or dealing, from what the records hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from normzoo_reports import words
from normzoo_reports.drawing.drawing import Drawing
from normzoo_reports.drawing.style import ink
from normzoo_reports.plain import isolated
from normzoo_suites import Record, Run

_WAYS = ("draw", "split", "dealing", "ranks")
_LARGEST = 170.0  # area of a dot, in points², that holds all of a row's samples
_ROWS = 32  # more are not drawn; the table has them all


@dataclass(frozen=True)
class Picture:
    """The classes that each rank or part had, of one seed.

    Attributes:
        name: the way of splitting, in words.
        drawing: a dot per row and class, its area the class's share of the row's samples.
        row: what a row is: a ``rank``, a ``part`` of a step, or a whole ``step``.
        rows: the counts, a row's name first.
        classes: how many classes the counts have.
        told: of which seed it is, the hash that names this split, and what is left out.
        cell: the cell whose record tells of it.

    """

    name: str
    drawing: Drawing
    row: str
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    classes: int
    told: str
    cell: str


def pictures(run: Run) -> list[Picture]:
    """Give a picture for each way of splitting that a record of the run tells of, in the order of the suite."""
    own = [run.records[cell.id] for cell in run.cells if cell.id in run.records and cell.same_as is None]
    told = [record for record in own if _are_counts(record.split.get("labels"))]
    names = words.conditions([record.settings for record in told], _WAYS)
    first = dict(reversed(list(zip(names, told, strict=True))))
    return [_picture(name, first[name]) for name in dict.fromkeys(names)]


def _are_counts(labels: Any) -> bool:
    """Whether it is a table of counts, a row as long as the other: a record may come from anywhere."""
    rows = labels if isinstance(labels, list) else []
    whole = all(isinstance(row, list) and row and all(isinstance(one, int) for one in row) for row in rows)
    return bool(rows) and whole and len({len(row) for row in rows}) == 1


def _picture(name: str, record: Record) -> Picture:
    labels: list[list[int]] = record.split["labels"]
    told = [f"Seed {record.settings.get('seed')}", f"manifest {isolated(str(record.split.get('manifest', '–')))}"]
    told += [isolated(str(record.split["note"]))] if record.split.get("note") else []
    told += [f"the first {_ROWS} of {len(labels)} rows are drawn"] if len(labels) > _ROWS else []
    rows = tuple((str(number), tuple(counts)) for number, counts in enumerate(labels))
    row = isolated(str(record.split.get("rows", "rank")))
    sizes = sorted(map(sum, labels))
    if sizes[0] != sizes[-1]:  # dots show shares, not amounts
        told.append(f"from {words.count(sizes[0], 'sample')} to {sizes[-1]:,} a {row}")
    drawing = Drawing(f"Samples by class and {row}: {name}", partial(_drawn, labels[:_ROWS], row))
    return Picture(name, drawing, row, rows, len(labels[0]), "; ".join(told) + ".", record.id)


def _drawn(labels: list[list[int]], row: str) -> Figure:
    sizes = [max(1, sum(counts)) for counts in labels]
    dots = pd.DataFrame(
        [
            {"row": number, "class": label, "share": count / sizes[number]}
            for number, counts in enumerate(labels)
            for label, count in enumerate(counts)
            if count
        ],
        columns=["row", "class", "share"],
    )
    figure = Figure(figsize=(6.8, 0.7 + 0.24 * len(labels)), layout="constrained")
    ax = figure.subplots()
    sns.scatterplot(
        dots, x="class", y="row", size="share", sizes=(0, _LARGEST), size_norm=(0, 1), color=ink(), linewidth=0,
        legend=False, ax=ax,
    )  # fmt: skip
    ax.set(xlim=(-0.6, len(labels[0]) - 0.4), ylim=(len(labels) - 0.4, -0.6), xlabel="class", ylabel=row)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=12))
    return figure
