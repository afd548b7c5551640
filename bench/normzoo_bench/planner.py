"""From a suite to cells: each runnable, skipped with a reason, or the same computation as another."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import normzoo
from normzoo_bench import data, plugin_files, shards
from normzoo_bench.checks import check_data, check_devices, check_normalizers
from normzoo_bench.data import DataSet, Source
from normzoo_bench.errors import UsageError
from normzoo_bench.ranks import is_split
from normzoo_bench.request import Request
from normzoo_bench.skips import skip_reason
from normzoo_bench.streamed import StreamedSet
from normzoo_suites import Cell, Record, Suite, SuiteError, change_suite, collecting, load_suite, parse_call
from normzoo_suites.claims import side_cells
from normzoo_suites.errors import show
from normzoo_suites.run_folder import share_records
from normzoo_suites.selection import choose, resolve
from normzoo_suites.selection import trials as trials_of
from normzoo_suites.settings import AccuracySettings, training_of
from normzoo_suites.tune import told_untuned


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        suite: the suite as the command line changed it.
        cells: its cells, in the order of measuring; of a suite that is tuned, those whose tuning is known.
        trials: what is trained before, to tune them.
        waiting: how many cells wait for what their trials choose.
        drafts: of a suite that is tuned, all its cells before that, marked.
        untuned: what the suite tunes and this request does not, in words, or empty.
        sources: by a data set's name in settings, where it is loaded from here.
        request: what was asked for, as it was asked.

    """

    suite: Suite
    cells: list[Cell]
    sources: dict[str, Source]
    request: Request
    trials: tuple[Cell, ...] = ()
    waiting: int = 0
    drafts: tuple[Cell, ...] = ()
    untuned: str = ""

    def part(self, cells: Sequence[Cell]) -> list[Cell]:
        """Give those of these cells that are in the shard which was asked for."""
        return shards.part(self.suite, cells, self.request.shard)

    def dataset(self, cell: Cell) -> DataSet | StreamedSet | None:
        """Give a cell's data set, or None where it needs none."""
        training = training_of(cell.settings)
        if training is None:
            return None
        return data.load_as(training.data, training.dataset, self.sources[training.dataset].where)

    def to_do(self, cells: Sequence[Cell] | None = None) -> list[Cell]:
        """Give those that are measured, of the plan's cells or of these: neither skipped nor the same as another."""
        return [cell for cell in (self.cells if cells is None else cells) if cell.skip is None and cell.same_as is None]

    def tuned(self, records: Mapping[str, Record]) -> Plan:
        """Give the plan with the cells that these records of trials tune; of one that tunes nothing, the same."""
        if self.suite.select is None or not self.trials:
            return self
        shared = dict(records)
        share_records(shared, self.trials)
        cells = resolve(self.suite.select, self.drafts, choose(self.suite.select, self.drafts, shared))
        marked = _marked(cells, self.sources, self.request.elsewhere)
        return dataclasses.replace(self, cells=marked, waiting=len(self.drafts) - len(cells))


Recorded = Callable[["Plan"], Mapping[str, Record]]
"""Gives the records that a plan's trials have by now, by id."""


@collecting.pause()
def plan(request: Request, recorded: Recorded = lambda _: {}) -> Plan:
    """Plan a suite: everything that can be known to be wrong is said here, before anything is measured.

    Args:
        request: what is asked.
        recorded: asked where a single cell is wanted, which trials may have to choose first.

    Raises:
        UsageError, SuiteError: for whatever of the request cannot be done.

    """
    loaded = [name for path in request.load for name in plugin_files.load(path)]
    changes = dict(request.settings)
    if request.device is not None:
        if "device" in changes:
            raise UsageError("device is given by --set device= and by --device; keep one")
        # resolved, so that the command in a record asks for the same cells on every machine
        request = dataclasses.replace(request, device=resolve_device(request.device))
        changes["device"] = str(request.device)
    suite, untuned = _changed_suite(request, changes, loaded)
    suite, sources = _named_data(suite)
    cells = suite.cells()
    check_devices(cells, request.elsewhere)
    check_normalizers(cells)
    check_data(cells, sources)
    marked = _marked(cells, sources, request.elsewhere)
    _check_tautologies(suite, marked)
    trials = _trials(suite, marked, sources, request.elsewhere)
    whole = (
        Plan(suite, [], sources, request, tuple(trials), drafts=tuple(marked), untuned=untuned)
        if trials
        else Plan(suite, marked, sources, request, untuned=untuned)
    )
    if request.cell is None:
        return whole.tuned({})
    could_be = re.fullmatch("[0-9a-f]{1,16}", request.cell)  # and may be a part of a folder's name
    whole = whole.tuned(recorded(whole) if trials and could_be else {})
    return Plan(suite, _chosen(whole, request.cell), sources, request)


def _changed_suite(request: Request, changes: Mapping[str, str], loaded: Sequence[str]) -> tuple[Suite, str]:
    """Give the suite as the request changes it, and what that leaves untuned, in words."""
    own = load_suite(request.suite)
    changed = change_suite(
        own,
        changes,
        request.normalizers,
        request.seeds,
        request.repeats,
        add_normalizers=loaded if request.normalizers is None and "normalizer" not in changes else (),
        tune=request.tune,
    )
    return changed, told_untuned(own, changed)


def _trials(suite: Suite, cells: Sequence[Cell], sources: Mapping[str, Source], elsewhere: bool) -> list[Cell]:
    """Give the trials that tune these cells; what cannot run needs no tuning.

    Of two trials that are one computation the second is left out: what it would show is shown by results.
    """
    if suite.select is None:
        return []
    trials = trials_of(suite.select, [cell for cell in cells if cell.skip is None])
    check_data(trials, sources)
    return [dataclasses.replace(trial, same_as=trial.twin_of) for trial in _marked(trials, sources, elsewhere)]


def _marked(cells: Sequence[Cell], sources: Mapping[str, Source], elsewhere: bool) -> list[Cell]:
    """Mark what cannot run, and what is the same computation as another."""
    return mark_same([_skipped(cell, sources, elsewhere) for cell in cells])


def _skipped(cell: Cell, sources: Mapping[str, Source], elsewhere: bool) -> Cell:
    """Say in a cell why it cannot run; where nothing is in its way it is itself, its id known by now."""
    reason = None if cell.skip else skip_reason(cell, sources, elsewhere)
    return dataclasses.replace(cell, skip=reason) if reason else cell


def resolve_device(name: str) -> str:
    """Give ``cuda`` or ``cpu`` for ``auto``, else the name itself."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def mark_same(cells: Sequence[Cell]) -> list[Cell]:
    """Mark cells that are one computation at several ``ranks``, which then is measured at the first and last only.

    That is so for a normalizer that pools over no batch, or over ranks too, with iid data dealt as it comes. The two
    that are measured show that it is so.
    """
    marked = {cell: cell for cell in cells}
    alike: dict[object, list[Cell]] = {}
    question = AccuracySettings.all_but("ranks")
    for cell in cells:
        if cell.skip is None and _ranks_cannot_matter(cell):
            alike.setdefault(question(cell.settings), []).append(cell)
    for group in alike.values():
        ordered = sorted(group, key=lambda cell: cell.settings.ranks)  # type: ignore[attr-defined]  # accuracy cells only
        for twin in ordered[1:]:
            measured = twin is ordered[-1]
            first = ordered[0].id
            same_as = None if measured else first
            marked[twin] = Cell(twin.measure, twin.protocol, twin.settings, None, first, same_as)  # faster than replace
    return list(marked.values())


def _ranks_cannot_matter(cell: Cell) -> bool:
    settings = cell.settings
    if not isinstance(settings, AccuracySettings) or settings.local_epochs or settings.effects != "none":
        return False
    if (settings.split, settings.dealing) != ("iid", "shuffled"):
        return False
    return not is_split(normzoo.card(parse_call(settings.normalizer).name), ranks=2)


def _chosen(plan: Plan, wanted: str) -> list[Cell]:
    cells = [*plan.trials, *plan.cells]
    found = [cell for cell in cells if cell.id.startswith(wanted)]
    if len(found) != 1:
        what = "no cell" if not found else f"{len(found)} cells"
        wait = (
            f", but for the {plan.waiting} whose trials have not chosen yet: name the run folder that has the trials "
            f"with --out, or what was chosen with --set {next(iter(plan.suite.select.grid))}="
            if plan.waiting and plan.suite.select
            else ""
        )
        raise UsageError(
            f"{what} with an id that starts with {show(wanted)}; `normzoo plan --cells` lists the ids{wait}"
        )
    if found[0].same_as:
        return [cell for cell in cells if cell.id == found[0].same_as] + found
    return found


def _named_data(suite: Suite) -> tuple[Suite, dict[str, Source]]:
    """Give the suite with its data sets' names as every machine spells them, and where these are loaded from."""
    sources: dict[str, Source] = {}

    @functools.cache
    def name_of(text: str) -> str:
        source = data.find(text)
        sources[source.name] = source
        return source.name

    def renamed(side: Mapping[str, Any]) -> dict[str, Any]:
        """Rename in a table of settings, whose values are single or lists."""
        given = side.get("dataset")
        if given is None:
            return dict(side)
        return dict(side) | {"dataset": [*map(name_of, given)] if isinstance(given, list) else name_of(given)}

    changed = suite.model_copy(
        update={
            "grids": [
                grid.model_copy(update={"fixed": renamed(grid.fixed), "axes": renamed(grid.axes)})
                for grid in suite.grids
            ],
            "claims": [
                claim.model_copy(update={"plus": [*map(renamed, claim.plus)], "minus": [*map(renamed, claim.minus)]})
                for claim in suite.claims
            ],
            "figures": [figure.model_copy(update={"where": renamed(figure.where)}) for figure in suite.figures],
        }
    )
    return (suite if changed == suite else changed), sources  # which knows its cells already


def _check_tautologies(suite: Suite, cells: Sequence[Cell]) -> None:
    """Refuse a claim whose two sides are one computation by design, measured twice or not: it cannot be false."""
    for claim in suite.claims:
        terms: dict[int, list[tuple[str, str]]] = {1: [], -1: []}
        with contextlib.suppress(SuiteError):  # what a command line took away is the report's to tell
            for term in claim.terms:
                own = side_cells(cells, term.settings, claim.measure).values()
                terms[term.sign] += [(term.metric, cell.computation) for cell in own]
        if terms[1] and sorted(terms[1]) == sorted(terms[-1]):
            raise UsageError(f"the claim {claim.id!r}: both sides are the same computation by design")


def source_hash(cell: Cell) -> str:
    """Hash the source of a cell's normalizer."""
    return normzoo.card(parse_call(cell.settings.normalizer).name).source_hash
