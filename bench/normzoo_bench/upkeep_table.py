"""What `doctor` and `clean` have found, for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from normzoo_bench.cleaning import Cleaned, Leftover
from normzoo_bench.diagnosis.finding import Finding, size
from normzoo_bench.terminal import table

_LEVELS = {"good": "good", "warning": "WARNING", "fault": "FAULT"}


def print_diagnosis(console: Console, findings: Sequence[Finding]) -> None:
    """Show every finding, what to do about it, and whether a run would be stopped."""
    rows = []
    for finding in findings:
        rows.append([_LEVELS[finding.level], finding.check, finding.found])
        rows += [["", "", f"→ {finding.do}"]] if finding.do else []
    console.print(table("", ["", "check", "found"], rows))
    counts = Counter(finding.level for finding in findings)
    said = ", ".join(_counted(counts[level], level) for level in ("fault", "warning"))
    end = "this would stop a run" if counts["fault"] else "nothing here would stop a run"
    console.print(f"{said}: {end}", markup=False, highlight=False)


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def print_cleaned(console: Console, cleaned: Sequence[Cleaned], dry_run: bool) -> None:
    """Show, folder by folder, what was removed, what stays, and what would remove it."""
    for one in cleaned:
        lines = [_line(left, dry_run) for left in one.leftovers]
        for line in lines if any(left.removed for left in one.leftovers) else ["nothing to remove", *lines]:
            console.print(f"{one.folder}: {line}", markup=False, highlight=False, soft_wrap=True)


def _line(left: Leftover, dry_run: bool) -> str:
    what = f"{left.files:,} {left.what}, {size(left.bytes)}"
    if left.removed:
        return f"{'would remove' if dry_run else 'removed'} {what}"
    return f"{what}: {left.note}"
