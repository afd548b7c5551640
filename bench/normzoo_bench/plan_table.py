"""A plan for the terminal: what a run would do, what it would skip and why, how long it may take, and every cell."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from normzoo_bench.planner import Plan
from normzoo_bench.running.store import Store
from normzoo_bench.running.worker import TIMED
from normzoo_bench.terminal import table, tuning_text
from normzoo_suites import Cell, Record
from normzoo_suites.claims import seeds_needed


def print_plan(console: Console, plan: Plan, store: Store, jobs: int, cells: bool) -> None:
    """Show what a run would do, what it would skip and why, and how long it may take; with ``cells`` every cell."""
    known, _ = store.finished(plan, frozenset(), plan.trials)
    plan = plan.tuned(known)
    _print_tuning(console, plan, known)
    finished, unreadable = store.finished(plan, frozenset())
    _print_counts(console, plan, finished)
    for name in unreadable:
        _print_line(console, f"  {name} cannot be read and is measured again")
    _print_seeds(console, plan)
    _print_time(console, plan, finished | known, jobs)
    if cells:
        _print_whole(console, _cells(plan, finished | known))


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
    needed, cells = seeds_needed(len(plan.suite.claims)), plan.suite.cells()
    for measure in dict.fromkeys(claim.measure for claim in plan.suite.claims):
        own = [cell.settings for cell in cells if cell.measure == measure]
        number = len({settings.replicate for settings in own})
        if own and number < needed:
            what = f"{number} {own[0].REPLICATES}{'' if number == 1 else 's'}"
            _print_line(console, f"{what} cannot decide any of {len(plan.suite.claims)} claims; {needed} can")


def _print_time(console: Console, plan: Plan, finished: Mapping[str, Record], jobs: int) -> None:
    """Estimate the time that is left by the cells that are done, measure by measure."""
    own = plan.part([*plan.trials, *plan.cells])
    to_do = [cell for cell in plan.to_do(own) if cell.id not in finished]
    measures = [cell.measure for cell in to_do] + ["accuracy"] * plan.waiting
    times = {one: [record.seconds for record in finished.values() if record.measure == one] for one in measures}
    # what is timed runs alone
    left = [sum(times[one]) / len(times[one]) / (1 if one in TIMED else jobs) for one in measures if times[one]]
    if measures and len(left) == len(measures):
        _print_line(console, f"about {sum(left):.0f} s with {jobs} workers, by the cells done so far")
    elif measures:
        _print_line(console, "no estimate of the time: no such cell was measured in this folder yet")


def _cells(plan: Plan, finished: Mapping[str, Record]) -> Table:
    rows = [(cell.id, cell.measure, _state(cell, finished), _told(cell)) for cell in (*plan.trials, *plan.cells)]
    return table("", ["id", "measure", "state", "settings"], rows)


def _state(cell: Cell, finished: Mapping[str, Record]) -> str:
    if cell.same_as:
        return f"same as {cell.same_as}"
    return "skipped" if cell.skip else finished[cell.id].status if cell.id in finished else "to do"


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
