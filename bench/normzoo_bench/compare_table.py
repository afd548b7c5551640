"""A comparison of two runs for the terminal: what sets them apart, what changed, and the verdict of every limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from normzoo_bench.terminal import table

if TYPE_CHECKING:
    from normzoo_reports import Comparison
    from normzoo_reports.comparing.results import Change
    from normzoo_reports.comparing.ruling import Ruling

_ROWS = 12  # of one metric, unless all is asked for
_NAMED = 6  # conditions that a line names
_QUIET = ("open", "same")  # tones that the column of the change tells
_WIDE = 110  # letters from which intervals have room


def print_comparison(console: Console, found: Comparison, everything: bool = False) -> None:
    """Show what changed from A to B, or all that was compared."""
    _print_head(console, found)
    shown = found.changes if everything else found.told
    for metric in dict.fromkeys(change.metric for change in found.changes):
        rows = [change for change in shown if change.metric == metric]
        if rows:
            console.print()
            _print_metric(console, metric, rows, len(rows) if everything else _ROWS)
    console.print()
    if not shown:
        moved = any(one.tone != "same" for one in found.changes)
        _say(console, "No change shows." if moved else "Nothing changed.")
    if found.rest and not everything:
        _say(console, f"not listed: {found.rest}; --all lists them")


def print_rulings(console: Console, found: Comparison) -> None:
    """Show the verdict of every ``--fail-on``, and what broke it."""
    for ruling in found.rulings:
        _print_ruling(console, ruling)


def _print_head(console: Console, found: Comparison) -> None:
    for letter, side in (("A", found.a), ("B", found.b)):
        _say(console, f"{letter}: {side.text}")
    _say(console, found.headline, "bold")
    for one in found.differences:
        _say(console, f"  {one.text}")
    for line in found.warnings:
        _say(console, f"beware: {line}")
    _say(console, found.counted)
    for letter, only in (("A", found.only_a), ("B", found.only_b)):
        if only:
            names = [f"{name} ({count})" for name, count in only.items()]
            number = sum(only.values())
            _say(console, f"only in {letter}: {number:,} cell{'' if number == 1 else 's'}: {_some(names)}")


def _print_metric(console: Console, metric: str, rows: Sequence[Change], most: int) -> None:
    columns = ["", "A", "B", "change", "pairs", "normalizer and condition"]
    lines = []
    for one in rows[:most]:
        interval = one.range_text if console.width >= _WIDE else ""
        tone = "" if one.tone in _QUIET else one.tone_text
        where = "; ".join([one.name, *one.notes])
        lines.append([tone, *one.values, f"{one.change_text} {interval}".rstrip(), one.n, where])
    console.print(table(metric, columns, lines, right=["A", "B", "change", "pairs"]))
    if len(rows) > most:
        _say(console, f"and {len(rows) - most:,} more; --all lists them")


def _print_ruling(console: Console, ruling: Ruling) -> None:
    _say(console, f"--fail-on {ruling.limit}: {ruling.outcome} {ruling.text}", "red" if ruling.broken else None)
    for change, why in ruling.broken[:_NAMED]:
        _say(console, f"  {change.name}: {why}")
    if len(ruling.broken) > _NAMED:
        _say(console, f"  and {len(ruling.broken) - _NAMED:,} more")
    if ruling.chance:
        _say(console, f"  {ruling.chance}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} conditions more" if len(names) > _NAMED else ""
    return "; ".join(names[:_NAMED]) + more


def _say(console: Console, line: str, style: str | None = None) -> None:
    # a limit such as kernels:+1: is no thumb, whatever rich takes it for
    console.print(line, style=style, markup=False, highlight=False, emoji=False)
