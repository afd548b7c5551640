"""Ratios of paired times, and the short table of them that ends ``pytest bench/``."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from cases import LARGE_BYTES, Case
from normzoo_bench.timing import Pairs


@dataclass(frozen=True)
class Row:
    """A candidate's time against a rival's: samples in ms per step, pair by pair, or the reason why there are none."""

    candidate: str
    rival: str
    case: Case
    pairs: Pairs | None = None
    missing: str = ""
    saved: tuple[float, float] | None = None  # kept for backward by candidate and rival, in T
    share_of_limit: float | None = None  # fewest bytes / time / bandwidth of a copy
    where: str = "one process"

    def numbers(self) -> dict[str, Any]:
        """Give what stands in the JSON of pytest-benchmark: numbers for machines, raw samples too."""
        found: dict[str, Any] = {
            "candidate": self.candidate,
            "rival": self.rival,
            **self.case.told(),
            "where": self.where,
            "missing": self.missing,
        }
        if self.pairs:
            low, middle, high = spread(self.pairs)
            found |= {"ratio": middle, "ratio_p10": low, "ratio_p90": high, "share_of_limit": self.share_of_limit}
            found |= {"candidate_ms": self.pairs.candidate, "rival_ms": self.pairs.reference}
        if self.saved:
            found |= {"candidate_saved_t": self.saved[0], "rival_saved_t": self.saved[1]}
        return found


@dataclass
class Rows:
    """All rows of a session, and what is said below their table."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # said once each

    def add(self, row: Row, note: str = "") -> None:
        """Take one row, and what is to be known about its rival."""
        self.rows.append(row)
        if note and note not in self.notes:
            self.notes.append(note)


def spread(pairs: Pairs) -> tuple[float, float, float]:
    """Give 10th percentile, median and 90th percentile of the paired ratios."""
    low, middle, high = (float(value) for value in np.percentile(pairs.ratios(), [10, 50, 90]))
    return low, middle, high


def text(rows: Rows, surroundings: str, width: int = 140) -> str:
    """Write the tables, one per place and shape, large inputs first, and below them what was not timed."""
    parts = [
        f"{surroundings}\nmedian of paired ratios, candidate / rival, forward + backward (10th to 90th percentile); "
        "T: bytes of one input"
    ]
    timed = [row for row in rows.rows if row.pairs]
    for where, shape, batch in _places(timed):
        those = [row for row in timed if (row.where, row.case.shape, row.case.batch) == (where, shape, batch)]
        parts.append(_table(f"{shape}, batch {batch}, {where}", those, width))
    if any(not _is_large(row) for row in timed):
        parts.append(f"* T is below {LARGE_BYTES / 1e6:g} MB: fixed costs weigh more than bytes")
    parts += _saved(timed)
    parts += sorted({f"not timed: {row.missing}" for row in rows.rows if row.missing})
    return "\n".join([*parts, *rows.notes])


def _is_large(row: Row) -> bool:
    return row.case.bytes >= LARGE_BYTES


def _places(rows: Iterable[Row]) -> list[tuple[str, str, int]]:
    largest: dict[tuple[str, str, int], int] = {}
    for row in rows:
        place = row.where, row.case.shape, row.case.batch
        largest[place] = max(largest.get(place, 0), row.case.bytes)
    # places come as they were measured, but those with large inputs first
    return sorted(largest, key=lambda place: largest[place] < LARGE_BYTES)


def _table(title: str, rows: Sequence[Row], width: int) -> str:
    columns = list(dict.fromkeys((row.case.dtype_name, row.case.layout, row.case.bytes) for row in rows))
    table = Table("candidate / rival", box=SIMPLE, title=title, title_justify="left", pad_edge=False)
    for dtype, layout, size in columns:
        table.add_column(f"{dtype} {layout}\nT = {size / 1e6:.3g} MB", justify="right", no_wrap=True)
    for pair in dict.fromkeys((row.candidate, row.rival) for row in rows):
        cells = {
            (row.case.dtype_name, row.case.layout, row.case.bytes): _cell(row)
            for row in rows
            if (row.candidate, row.rival) == pair
        }
        table.add_row(" / ".join(pair), *(cells.get(column, "") for column in columns))
    written = io.StringIO()
    Console(file=written, width=width, color_system=None).print(table)
    return written.getvalue().rstrip()


def _cell(row: Row) -> str:
    assert row.pairs  # rows without are not tabled
    low, middle, high = spread(row.pairs)
    share = "" if row.share_of_limit is None else f" {row.share_of_limit:.2f} of limit"
    return f"{middle:.2f} ({low:.2f}–{high:.2f}){share}{'' if _is_large(row) else '*'}"


def _saved(rows: Sequence[Row]) -> list[str]:
    """Say what batch renorm and its rivals keep for backward: the range over large inputs."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.saved and _is_large(row) and row.candidate == "batch_renorm":
            for name, value in zip((row.candidate, row.rival), row.saved, strict=True):
                found.setdefault(name, []).append(value)
    if not found:
        return []
    said = [f"{name} {_range(values)}" for name, values in found.items()]
    return ["saved for backward, in T (large inputs, all dtypes and layouts): " + ", ".join(said)]


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low}–{high}"
