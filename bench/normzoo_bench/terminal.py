"""Tables for the terminal."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from normzoo import Card
    from normzoo_bench.commands import RunStatus
    from normzoo_bench.cost.afterwards import Took
    from normzoo_reports import Estimate, Pivot, Summary
    from normzoo_reports.results import Overview
    from normzoo_reports.verdict import Verdict
    from normzoo_suites import Suite
    from normzoo_suites.contracts import ContractResult
    from normzoo_suites.select import Select


_COLUMN = 13  # letters of a table's column that is one of many


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> Table:
    """Make a plain table; text in it is shown as it is, never read as markup. Only the last column may fold."""
    made = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    made.padding = (0, 2, 0, 0)
    for number, column in enumerate(columns):
        last = number == len(columns) - 1
        made.add_column(
            Text(column),
            justify="right" if column in right else "left",
            header_style="dim",
            no_wrap=not last,
            overflow="fold" if last else "ellipsis",
            min_width=max(len(str(row[number])) for row in rows) if rows and column in (columns[0], *right) else None,
        )
    for row in rows:
        made.add_row(*(Text(str(value)) for value in row))
    return made


def catalog() -> dict[str, list[dict[str, Any]]]:
    """Give everything that has a name: normalizers, suites, data sets, models."""
    import normzoo
    from normzoo_bench.data import EMBEDDED
    from normzoo_bench.known import known_names
    from normzoo_bench.models import model_names
    from normzoo_suites import load_suite, suite_names

    cards = [normzoo.card(name) for name in normzoo.names()]
    return {
        "normalizers": [
            {"name": c.name, "year": c.year, "paper": c.paper, "pools": sorted(c.pools), "about": c.summary}
            for c in cards
        ],
        "suites": [{"name": name, "about": load_suite(name).question} for name in suite_names()],
        "datasets": [
            *({"name": name, "about": about} for name, about in (EMBEDDED | known_names()).items()),
            {"name": "PATH", "about": "a folder of parquet, arrow or image files"},
            {"name": "ID", "about": "any Hugging Face hub id, such as ylecun/mnist"},
        ],
        "models": [
            *({"name": name, "about": about} for name, about in model_names().items()),
            {"name": "timm/NAME", "about": "any model of timm, such as timm/resnet18"},
        ],
    }


def print_catalog(console: Console, found: dict[str, list[dict[str, Any]]]) -> None:
    """Show the catalog's sections one under the other."""
    for number, (section, rows) in enumerate(found.items()):
        if number:
            console.print()
        columns = [column for column in rows[0] if column != "paper"]  # `show` has it, and the width is small
        console.print(table(section, columns, [[_plain(row[column]) for column in columns] for row in rows]))


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "nothing"
    return "" if value is None else str(value)


def print_card(console: Console, card: Card) -> None:
    """Show a normalizer's card and its docstring."""
    rows: list[tuple[str, object]] = [
        ("paper", card.paper),
        ("year", card.year or "none"),
        ("pools over", ", ".join(sorted(card.pools)) or "nothing"),
        ("running statistics", "yes" if card.running_stats else "no"),
        ("depends on batch-mates in training", "yes" if card.batch_dependent else "no"),
        ("ranks must talk", "yes" if card.needs_process_group else "no"),
        ("smallest batch at 1×1", card.smallest_batch((1, 1))),
        ("options", ", ".join(f"{key}={value}" for key, value in card.options.items()) or "none"),
        *((f"exempt from {check}", reason) for check, reason in card.exempt.items()),
    ]
    console.print(table(card.name, ["claim", ""], rows))
    console.print()
    console.print(inspect.getdoc(card.factory) or "", markup=False, highlight=False)


def print_suite(console: Console, suite: Suite) -> None:
    """Show a suite's question, its size and its claims."""
    console.print(f"{suite.name}: {suite.question}", markup=False, highlight=False)
    console.print(f"{len(suite.cells())} cells, protocol {suite.protocol}", highlight=False)
    for number, grid in enumerate(suite.grids, start=1):
        rows = [(key, ", ".join(map(str, values))) for key, values in grid.values().items()]
        console.print(table(f"grid {number}: {grid.measure}", ["setting", "values"], rows))
    if suite.select is not None:
        console.print(f"tuning: {tuning_text(suite.select)}", markup=False, highlight=False)
    for number, claim in enumerate(suite.claims, start=1):
        margin = f"more than {claim.margin:g}" if claim.is_ == "higher" else f"within ± {claim.margin:g}"
        console.print(f"claim {number}: {claim.says}", markup=False, highlight=False)
        console.print(f"  {claim.metric}, {margin}; {claim.source}", markup=False, highlight=False, style="dim")


def print_findings(console: Console, results: Iterable[ContractResult], faults_only: bool = False) -> None:
    """Show what the contract's checks found of each normalizer, and how many faults."""
    for result in results:
        rows = []
        for finding in result.findings:
            if finding.ok and faults_only:
                continue
            rows.append([finding.outcome if finding.ok else "FAULT", finding.sentence])
            rows += [["", f"{finding.check}: {finding.message}"]] if finding.message else []
        if rows:
            console.print(table(result.normalizer, ["", "check"], rows))
        faults = sum(not finding.ok for finding in result.findings)
        said = f"{faults or 'no'} fault{'' if faults == 1 else 's'} in {len(result.findings)} checks"
        console.print(f"{result.normalizer}: {said}" + "\n" * (not faults_only), markup=False)


def tuning_text(select: Select) -> str:
    """Say what is tried, with which budget, and what decides."""
    tried = ", ".join(f"{key} of {', '.join(map(str, values))}" for key, values in select.grid.items())
    budget = "".join(f", {key} {value}" for key, value in select.fixed.items())
    return f"{tried}, each with {select.seeds} seed{'' if select.seeds == 1 else 's'}{budget}, by {select.metric}"


def print_status(console: Console, found: RunStatus) -> None:
    """Show how far a run is."""
    ended = ", ".join(f"{count} {status}" for status, count in found.statuses.items())
    part = " of shard {}/{}".format(*found.shard) if found.shard else ""
    console.print(
        f"{found.suite}: {found.cells} cells: {ended or 'none measured'}, {found.to_do}{part} to do", highlight=False
    )
    if found.others:
        console.print(others_text(found.others), highlight=False, soft_wrap=True)
    if found.trials[0]:
        console.print(f"tuned by {found.trials[0]} trials, {found.trials[1]} of them done", highlight=False)
    if found.seconds:
        console.print(f"measured for {found.seconds:.0f} s of worker time", highlight=False)
    if found.took is not None:
        console.print(took_text(found.took), highlight=False, soft_wrap=True)
    for reason, count in found.faults.items():
        console.print(f"  ×{count} {reason}", markup=False, highlight=False)
    for name, reason in found.unreadable.items():
        console.print(f"  {name}: {reason}", markup=False, highlight=False)
    if found.to_do:
        console.print(f"go on with: {found.command}", markup=False, highlight=False)


def others_text(count: int) -> str:
    """Say that a folder holds more than its latest command has asked for."""
    records = "1 record" if count == 1 else f"{count:,} records"
    return (
        f"{records} of cells that the latest command did not ask for: kept, and not shown; a command that asks for "
        "them shows them again"
    )


def duration(seconds: float) -> str:
    """Spell a time in the unit that suits it.

    >>> duration(0.25), duration(75), duration(750), duration(9000), duration(432000)
    ('0.2 s', '75 s', '12 min', '2.5 h', '5.0 days')
    """
    for unit, size, most in (("s", 1, 100), ("min", 60, 100 * 60), ("h", 3600, 48 * 3600)):
        if seconds < most:
            amount = seconds / size
            return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"


def share(error: float) -> str:
    """Spell a relative error, such as +17 %; a real minus where it is below 0."""
    return f"{error:+.0%}".replace("-", "−").replace("%", " %")


def took_text(found: Took) -> str:
    """Say what was estimated, and what it took."""
    cells = "1 cell that had an estimate" if found.cells == 1 else f"{found.cells} cells that had an estimate"
    return (
        f"estimated {duration(found.estimated)}, took {duration(found.took)} ({share(found.error)}) of worker time: "
        f"{cells}"
    )


def _pivot(console: Console, pivot: Pivot) -> Table:
    """Make the accuracy table: with intervals where the terminal is wide enough, else without."""
    columns = ["\n".join(lines) for lines in pivot.broken_columns(_COLUMN)]

    def made(with_interval: bool) -> Table:
        def text(value: Estimate | str) -> str:
            return value if isinstance(value, str) else value.text if with_interval else value.point

        rows = [[name, *(text(value) for value in values)] for name, values in pivot.rows]
        return table(pivot.metric, ["normalizer", *columns], rows, right=columns)

    wide = made(True)
    needed = console.measure(wide, options=console.options.update(width=1000)).maximum
    return wide if needed <= console.width else made(False)


def _print_parts(console: Console, pivot: Pivot, title: bool = True) -> None:
    """Print a table in as many pieces as the width asks for."""
    names = max(len("normalizer"), *(len(name) for name, _ in pivot.rows))
    for number, part in enumerate(pivot.parts(max(1, (console.width - names - 2) // (_COLUMN + 2)))):
        shown = _pivot(console, part)
        if number or not title:
            shown.title = None
        if number:
            console.print()
        console.print(shown)


def _published(verdict: Verdict) -> str:
    return f"published: {verdict.published_text}" if verdict.published_text else ""


def _told(verdict: Verdict) -> str:
    said = (verdict.effect_text, verdict.reason, verdict.needed_text, _published(verdict))
    return "; ".join(filter(None, said))


def _print_overview(console: Console, found: Overview) -> None:
    if found.sentences:
        console.print()
        console.print("what was found", style="bold", markup=False, highlight=False)
    for sentence in found.sentences:
        console.print(sentence.whole, markup=False, highlight=False)
    if found.more:
        console.print(f"and {len(found.more)} more, which the report tells", markup=False, highlight=False)
    for line in found.how if found.sentences else ():
        console.print(line, style="dim", markup=False, highlight=False)


def print_summary(console: Console, found: Summary) -> None:
    """Show what a run found: accuracy by condition, costs, the same in sentences, claims."""
    if found.accuracy:
        _print_parts(console, found.accuracy)
    for cost, after in itertools.zip_longest(found.costs, found.costs[1:]):
        console.print()
        console.print(cost.title, style="bold", markup=False, highlight=False)
        _print_parts(console, cost.table, title=False)
        if cost.note and (after is None or after.note != cost.note):  # once below all tables that it holds for
            console.print(cost.note, markup=False, highlight=False)
    _print_overview(console, found.overview)
    if found.asked:
        console.print()
        rows = [[one.outcome, f"{one.claim.says} {_told(one)}"] for one in found.asked]
        console.print(table("claims", ["verdict", "claim and effect"], rows))
    for line in filter(None, (found.not_asked, found.look, *found.tuning)):
        console.print(line, markup=False, highlight=False)
