"""A plan for the terminal: what a run would do, what it would skip and why, how long it may take, and every cell."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from normzoo_bench.cost.estimate import Estimate, Row
from normzoo_bench.cost.knowledge import Basis
from normzoo_bench.planned import Planned
from normzoo_bench.planner import Plan
from normzoo_bench.terminal import duration, share, table, tuning_text
from normzoo_suites import Cell, Record
from normzoo_suites.claims import seeds_needed
from normzoo_suites.settings import MEASURES


def print_plan(console: Console, found: Planned, cells: bool) -> None:
    """Show what a run would do, what it would skip and why, and how long it may take; with ``cells`` every cell."""
    _print_tuning(console, found.plan, found.trials)
    _print_counts(console, found.plan, found.finished)
    for name in found.unreadable:
        _print_line(console, f"  {name} cannot be read and is measured again")
    _print_seeds(console, found.plan)
    _print_time(console, found.estimate)
    if cells:
        _print_whole(console, _cells(found))


def _print_tuning(console: Console, plan: Plan, known: Mapping[str, Record]) -> None:
    """Say what is trained before anything is measured, and what of the suite's tuning is left out."""
    select = plan.suite.select
    if select is not None and plan.trials:
        trials = plan.to_do(plan.part(plan.trials))
        done = sum(trial.id in known for trial in trials)
        _print_line(console, f"tuning: {tuning_text(select)}: {len(trials)} trials, {done} done")
    if plan.untuned:
        _print_line(console, plan.untuned)


def _print_counts(console: Console, plan: Plan, finished: Mapping[str, Record]) -> None:
    skipped = [cell for cell in plan.cells if cell.skip]
    _print_line(
        console,
        f"{plan.suite.name}: {len(plan.cells) + plan.waiting} cells: "
        f"{sum(cell.id not in finished for cell in plan.to_do(plan.part(plan.cells)))} to do"
        + (" in shard {}/{}".format(*plan.request.shard) if plan.request.shard else "")
        + f", {len(finished)} done, "
        f"{sum(cell.same_as is not None for cell in plan.cells)} the same computation as another, "
        f"{len(skipped)} skipped" + (f", {plan.waiting} that wait for their trials" if plan.waiting else ""),
    )
    for reason in dict.fromkeys(cell.skip for cell in skipped):
        who = [cell.settings.normalizer for cell in skipped if cell.skip == reason]
        _print_line(console, f"  skipped ×{len(who)}: {', '.join(dict.fromkeys(who))}: {reason}")
    if skipped and len(skipped) == len(plan.cells) and not plan.waiting:
        _print_line(console, "  so nothing of it can be measured here")


def _print_seeds(console: Console, plan: Plan) -> None:
    """Say when no claim can be decided with so few seeds, or processes."""
    needed = seeds_needed(len(plan.suite.claims))
    for measure in dict.fromkeys(claim.measure for claim in plan.suite.claims if claim.measure is not None):
        number = plan.suite.repeats(measure)
        if 0 < number < needed:
            what = f"{number} {MEASURES[measure].REPLICATES}{'' if number == 1 else 's'}"
            _print_line(console, f"{what} cannot decide any of {len(plan.suite.claims)} claims; {needed} can")


def _print_time(console: Console, found: Estimate) -> None:
    """Say how long it may take, by what, and how sure that is."""
    if not found.rows:
        return
    if found.shares:
        workers = f"{found.jobs} worker{'' if found.jobs == 1 else 's'}"
        rest = f", and {found.without} cells of which it is not known" if found.without else ""
        _print_line(console, f"about {duration(found.seconds)} with {workers}{rest}")
        rows = [(r.device, r.measure, r.cells, duration(r.seconds), _sureness(r)) for r in found.rows]
        columns = ("device", "measure", "cells", "worker time", "by")
        _print_whole(console, table("", columns, rows, right=("cells", "worker time")))
    if found.without:
        what = "1 cell has" if found.without == 1 else f"{found.without} cells have"
        _print_line(console, f"{what} no estimate of the time: no such record yet; --probe measures a little of each")


def _sureness(row: Row) -> str:
    told = [f"{basis.words} ×{basis.cells}: {_errors(basis)}" for basis in row.bases]
    return "; ".join([*told, *([f"no such record yet ×{row.without}"] if row.without else [])])


def _errors(basis: Basis) -> str:
    """Say how far off predictions were by this, training by training, where that can be said."""
    if basis.low is None or basis.high is None:
        return "not held against records yet"
    off = f"{share(basis.low)} to {share(basis.high)}" if basis.checked > 1 else share(basis.low)
    return f"off by {off} on {basis.checked} that are known"


def _cells(found: Planned) -> Table:
    every = (*found.plan.trials, *found.plan.cells)
    rows = [(cell.id, cell.measure, found.state(cell), _told(cell)) for cell in every]
    return table("", ["id", "measure", "state", "settings"], rows)


def _told(cell: Cell) -> str:
    return " ".join(f"{key}={value}" for key, value in cell.settings.model_dump(exclude_defaults=True).items())


def _print_line(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def _print_whole(console: Console, made: Table) -> None:
    """Print a table, where it goes into a file or another program with every row on a line of its own."""
    if console.is_terminal:
        console.print(made)
        return
    width = console.width
    console.width = console.measure(made, options=console.options.update(width=10_000)).maximum
    try:
        console.print(made)
    finally:
        console.width = width
