"""From a suite to cells: each runnable, skipped with a reason, or the same computation as another."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

import normzoo
from normzoo import plugins
from normzoo_bench import data
from normzoo_bench.checks import check_data, check_devices, check_normalizers, skip_reason
from normzoo_bench.data import DataSet, Source
from normzoo_bench.errors import UsageError
from normzoo_bench.ranks import is_split
from normzoo_bench.request import Request
from normzoo_suites import Cell, Suite, change_suite, load_suite, parse_call
from normzoo_suites.settings import AccuracySettings


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        suite: the suite as the command line changed it.
        cells: its cells, in the order of measuring.
        sources: by a data set's name in settings, where it is loaded from here.
        request: what was asked for, as it was asked.

    """

    suite: Suite
    cells: list[Cell]
    sources: dict[str, Source]
    request: Request

    def dataset(self, cell: Cell) -> DataSet | None:
        """Give a cell's data set, or None where it needs none."""
        if not isinstance(cell.settings, AccuracySettings):
            return None
        return data.load(cell.settings.dataset, self.sources[cell.settings.dataset].where)

    def to_do(self) -> list[Cell]:
        """Give the cells that are measured: neither skipped nor the same as another."""
        return [cell for cell in self.cells if cell.skip is None and cell.same_as is None]


def plan(request: Request) -> Plan:
    """Plan a suite: everything that can be known to be wrong is said here, before anything is measured.

    Raises:
        UsageError, SuiteError: for whatever of the request cannot be done.

    """
    loaded = [name for path in request.load for name in plugins.load(path)]
    changes = dict(request.settings)
    if request.device is not None:
        changes["device"] = resolve_device(request.device)
    suite = change_suite(
        load_suite(request.suite),
        changes,
        request.normalizers,
        request.seeds,
        add_normalizers=loaded if request.normalizers is None and "normalizer" not in changes else (),
    )
    cells = suite.cells()
    check_devices(cells)
    check_normalizers(cells)
    cells, sources = _named_data(cells)
    check_data(cells, sources)
    checked = [dataclasses.replace(cell, skip=skip_reason(cell, sources)) for cell in cells]
    unique = list({cell.id: cell for cell in mark_same(checked)}.values())
    return Plan(suite, _chosen(unique, request.cell), sources, request)


def resolve_device(name: str) -> str:
    """Give ``cuda`` or ``cpu`` for ``auto``, else the name itself."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def mark_same(cells: Sequence[Cell]) -> list[Cell]:
    """Mark cells that are one computation at several ``ranks``, which then is measured at the first and last only.

    That is so for a normalizer that pools over no batch, or over ranks too, with iid data dealt as it comes. The two
    that are measured show that it is so.
    """

    def question(cell: Cell) -> str:
        return str(cell.settings.model_dump(exclude={"ranks"}))

    marked = {cell.id: cell for cell in cells}
    free = [cell for cell in cells if cell.skip is None and _ranks_cannot_matter(cell)]
    for _, group in itertools.groupby(sorted(free, key=question), key=question):
        ordered = sorted(group, key=lambda cell: cell.settings.ranks)  # type: ignore[attr-defined]  # accuracy cells only
        for between in ordered[1:-1]:
            marked[between.id] = dataclasses.replace(between, same_as=ordered[0].id)
    return list(marked.values())


def _ranks_cannot_matter(cell: Cell) -> bool:
    settings = cell.settings
    if not isinstance(settings, AccuracySettings) or (settings.split, settings.dealing) != ("iid", "shuffled"):
        return False
    return not is_split(normzoo.card(parse_call(settings.normalizer).name), ranks=2)


def _chosen(cells: list[Cell], wanted: str | None) -> list[Cell]:
    if wanted is None:
        return cells
    found = [cell for cell in cells if cell.id.startswith(wanted)]
    if len(found) != 1:
        what = "no cell" if not found else f"{len(found)} cells"
        raise UsageError(f"{what} with an id that starts with {wanted!r}; `normzoo plan --cells` lists the ids")
    if found[0].same_as:
        return [cell for cell in cells if cell.id == found[0].same_as] + found
    return found


def _named_data(cells: list[Cell]) -> tuple[list[Cell], dict[str, Source]]:
    """Give the cells with their data sets' names as every machine spells them, and where these are loaded from."""
    sources: dict[str, Source] = {}

    @functools.cache
    def named(text: str) -> str:
        source = data.find(text)
        sources[source.name] = source
        return source.name

    def renamed(cell: Cell) -> Cell:
        if not isinstance(cell.settings, AccuracySettings):
            return cell
        changed = cell.settings.model_copy(update={"dataset": named(cell.settings.dataset)})
        return dataclasses.replace(cell, settings=changed)

    return [renamed(cell) for cell in cells], sources
