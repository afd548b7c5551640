"""A cell that was measured again, for the terminal: numbers side by side, and what is not what it was."""

from __future__ import annotations

from rich.console import Console

from normzoo_bench.again import SPREADS, Metric, Reproduced
from normzoo_bench.terminal import table


def print_reproduced(console: Console, found: Reproduced) -> None:
    """Show a cell's stored and new numbers side by side, and what is not what it was."""
    counted = found.counted
    settings = found.stored.settings
    what = f"{found.stored.measure} of {settings['normalizer']}, {counted} {settings.get(counted, 0)}"
    _line(console, f"{found.stored.id}: {what}", style="bold")
    if found.metrics:
        columns = ("metric", "stored", "again", "difference", "in spreads", "")
        console.print(table("", columns, [_row(one) for one in found.metrics], right=columns[1:5]))
    if any(one.spread is None for one in found.metrics):
        _line(console, f"no spread: one {counted} only")
    for which, record in (("stored", found.stored), ("again", found.again)):
        if record.status != "ok":
            _line(console, f"{which}: {record.status}: {record.reason}")
    for line in found.changes:
        _line(console, line)
    if found.environment:
        _line(console, "the environment is not what it was:")
        changed = [(key, was, now) for key, (was, now) in found.environment.items()]
        console.print(table("", ["what", "stored", "again"], changed))
    _line(console, _agreement(found))


def _row(one: Metric) -> tuple[str, ...]:
    numbers = ("none" if value is None else f"{value:.6g}" for value in (one.stored, one.again))
    difference = "" if one.difference is None else f"{one.difference:+.3g}" if one.difference else "0"
    apart = "0" if one.difference == 0 else "no spread" if one.spreads is None else f"{one.spreads:+.2f}"
    return (one.name, *numbers, difference, apart, "" if one.agrees else "differs")


def _agreement(found: Reproduced) -> str:
    if found.exit_code == 1:
        return "not reproduced: the cell failed"
    if found.same_to_the_bit:
        return "the same to the bit"
    if found.stored.status != found.again.status:
        return f"not reproduced: it was {found.stored.status}, and is {found.again.status}"
    off = [one for one in found.metrics if not one.agrees]
    if not off and found.exact:
        return "not reproduced: the epochs on the way differ, although the last numbers do not"
    if not off:
        return f"reproduced: every number is the same, or within {SPREADS:g} spreads of the {found.counted}s"
    why = ""
    if off[0].exact:
        why = "; where nothing has changed, a training on a CPU gives the same to the bit"
    elif all(one.spread is None for one in off):
        why = f", and one {found.counted} does not tell by how much they may"
    return f"not reproduced: {len(off)} of {len(found.metrics)} numbers differ{why}"


def _line(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, markup=False, highlight=False, style=style)
