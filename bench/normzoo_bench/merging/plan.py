"""One plan out of several: the cells and trials of all folders, as the planner would order and mark them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from normzoo_bench.merging.source import Source
from normzoo_suites import Cell, Record, Suite
from normzoo_suites.run_folder import share_records
from normzoo_suites.select import Select
from normzoo_suites.selection import choose, is_tuned, resolve
from normzoo_suites.selection import trials as trials_of

Offered = Mapping[str, Sequence[Cell]]
"""By a name, the cells that folders plan under it."""


@dataclass(frozen=True)
class Joined:
    """What the merged run.json plans; see ``Run``."""

    cells: list[Cell]
    trials: list[Cell]
    waiting: int


def joined_plan(
    suite: Suite, sources: Sequence[Source], records: Mapping[str, Record], planned: Mapping[str, str]
) -> Joined:
    """Join the folders' plans.

    Tuned cells are those that all trials together choose. Which of them are one computation only the planner knows,
    so what no folder has planned yet waits for the next run.

    Args:
        suite: the joined suite.
        sources: the folders.
        records: the records that stand, by id.
        planned: by normalizer, the hash of the source that its trials count with.

    """
    trials = _trials(suite, sources)
    drafts = {_name(suite.select, cell): cell for cell in suite.cells()}
    offered = _offered(suite.select, [source.run.cells for source in sources])
    chosen = _chosen(suite, drafts, offered, _counting(records, trials, planned))
    fitting = {
        name: _fitting(offered[name], chosen.get(name))
        for name in dict.fromkeys((*drafts, *offered))
        if name in offered
    }
    waiting = {
        name
        for source in sources
        if source.run.waiting
        for name in {_name(suite.select, cell) for cell in source.run.suite.cells()} - _names(suite, source.run.cells)
    }
    missing = {name for name, cells in fitting.items() if not cells} | (waiting - fitting.keys())
    return Joined(_marked({cells[0].id: cells for cells in fitting.values() if cells}), trials, len(missing))


def _name(select: Select | None, cell: Cell) -> str:
    """Name a cell by what it is before anything is chosen for it."""
    if select is None or not is_tuned(select, cell):
        return cell.id
    return json.dumps(cell.settings.model_dump(exclude=set(select.grid)), sort_keys=True)


def _names(suite: Suite, cells: Iterable[Cell]) -> set[str]:
    return {_name(suite.select, cell) for cell in cells}


def _offered(select: Select | None, plans: Iterable[Iterable[Cell]]) -> dict[str, list[Cell]]:
    offered: dict[str, list[Cell]] = defaultdict(list)
    for cells in plans:
        for cell in cells:
            offered[_name(select, cell)].append(cell)
    return dict(offered)


def _trials(suite: Suite, sources: Sequence[Source]) -> list[Cell]:
    offered = _offered(None, [source.run.trials for source in sources])
    order = [trial.id for trial in trials_of(suite.select, suite.cells())] if suite.select and offered else []
    return _marked({name: offered[name] for name in dict.fromkeys((*order, *offered)) if name in offered})


def _counting(records: Mapping[str, Record], trials: Sequence[Cell], planned: Mapping[str, str]) -> dict[str, Record]:
    """Give the trials' records, but those of another source than the run is planned with."""
    known = {
        trial.id: records[trial.id]
        for trial in trials
        if trial.id in records and planned.get(trial.settings.normalizer) in (None, records[trial.id].source_hash)
    }
    share_records(known, trials)
    return known


def _chosen(
    suite: Suite, drafts: Mapping[str, Cell], offered: Offered, records: Mapping[str, Record]
) -> dict[str, Cell]:
    """Give the cells as the trials tune them, by name; those whose trials have not chosen yet are left out."""
    if suite.select is None:
        return {}
    marked = {
        name: replace(cell, skip=offered[name][0].skip)
        if name in offered and all(one.skip for one in offered[name])
        else cell
        for name, cell in drafts.items()
    }
    cells = resolve(suite.select, marked.values(), choose(suite.select, list(marked.values()), records))
    return {_name(suite.select, cell): cell for cell in cells}


def _fitting(offered: Sequence[Cell], chosen: Cell | None) -> list[Cell]:
    """Give the planned cells that are the chosen one; where nothing is chosen (yet), those like the first folder's.

    One that some folder can run is skipped in none.
    """
    wanted = (chosen or offered[0]).id
    fitting = [cell for cell in offered if cell.id == wanted]
    return [cell for cell in fitting if not cell.skip] or fitting


def _marked(planned: Mapping[str, Sequence[Cell]]) -> list[Cell]:
    """Mark the cells that are one computation, by what each folder knew of it.

    The first of them, which is no one's twin, is the one whose record the others have; one that some folder measured
    all the same is measured.
    """
    firsts = _computations(planned)
    marked = []
    for cell_id, cells in planned.items():
        first = firsts.get(cell_id)
        twin_of = None if first == cell_id else first
        marked.append(replace(cells[0], twin_of=twin_of, same_as=twin_of if all(c.same_as for c in cells) else None))
    return marked


def _computations(planned: Mapping[str, Sequence[Cell]]) -> dict[str, str]:
    """Give the id of the first of its computation for every cell that is one with others: at other ``ranks``.

    Where one folder knows that ranks cannot matter to a question, they matter to none of its cells.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    if any(cell.twin_of for cells in planned.values() for cell in cells):
        for cell_id, cells in planned.items():
            if not cells[0].skip:
                groups[str(cells[0].settings.model_dump(exclude={"ranks"}))].append(cell_id)
    firsts: dict[str, str] = {}
    for group in groups.values():
        own = [cell_id for cell_id in group if not any(cell.twin_of for cell in planned[cell_id])]
        if len(own) < len(group):
            first = min(own or group, key=lambda cell_id: planned[cell_id][0].settings.model_dump()["ranks"])
            firsts |= dict.fromkeys(group, first)
    return firsts
