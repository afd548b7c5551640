"""What a cell is called where curves are listed: by what the suite varies, so that a list of runs can be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from normzoo_suites import Cell
from normzoo_suites.settings import MEASURES

Varied = Mapping[str, tuple[str, ...]]
"""By measure, the settings that do not have the same value in all its cells, but for normalizer and seed or repeat."""


@dataclass(frozen=True)
class Named:
    """A cell and its name.

    Attributes:
        id: the cell's id, which is its record's.
        measure: what is measured.
        settings: all of them, by name.
        group: what is said of all its seeds or repeats, from the coarse to the fine: ``("batch_norm", "ranks=5")``.
        own: what tells it from these: ``seed0 028c7526``, the seed or repeat and the beginning of the id.

    """

    id: str
    measure: str
    settings: Mapping[str, Any]
    group: tuple[str, ...]
    own: str


def varied(cells: Iterable[Cell], tuned: Iterable[str] = ()) -> Varied:
    """Say what varies in the cells of a plan; ``tuned`` are settings that tuning will choose."""
    values: dict[str, dict[str, set[object]]] = {}
    for cell in cells:
        of_measure = values.setdefault(cell.measure, {})
        for key, value in cell.settings.model_dump(exclude={"normalizer", str(cell.settings.REPLICATES)}).items():
            of_measure.setdefault(key, set()).add(value)
    chosen = set(tuned)
    return {
        measure: tuple(key for key, seen in of_measure.items() if len(seen) > 1 or key in chosen)
        for measure, of_measure in values.items()
    }


def named(cell: Mapping[str, Any], by: Varied) -> Named:
    """Name a cell, given as ``Cell.to_json`` or a record has it."""
    measure, settings = str(cell["measure"]), cell["settings"]
    condition = ",".join(f"{key}={settings[key]}" for key in by.get(measure, ()) if key in settings)
    parts = (measure if len(by) > 1 else "", str(settings["normalizer"]), condition)
    counted = MEASURES[measure].REPLICATES
    own = f"{counted}{settings[counted]} {cell['id'][:8]}"
    return Named(str(cell["id"]), measure, settings, tuple(part for part in parts if part), own)
