"""Two run folders in, a comparison out: what the command line, the page and Python start from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from normzoo_reports.comparing.changes import changes
from normzoo_reports.comparing.comparison import Comparison
from normzoo_reports.comparing.differences import differences, headline, identical, warnings
from normzoo_reports.comparing.limits import parse, rule
from normzoo_reports.comparing.outcomes import OUTCOMES
from normzoo_reports.comparing.pairing import Paired, pair
from normzoo_reports.comparing.results import Side
from normzoo_reports.digest import read
from normzoo_suites import Run


def side_by_side(a: str | Path, b: str | Path, fail_on: Iterable[str] = ()) -> Comparison:
    """Compare two run folders, A the baseline; see ``normzoo_reports.compare``."""
    limits = parse(fail_on)  # a mistake in one is told before anything is read
    paired = pair(read(a), read(b))
    facts = differences(paired)
    found = changes(paired)
    return Comparison(
        _side(paired.a),
        _side(paired.b),
        headline(facts, identical(paired)) + _apart(paired),
        facts,
        warnings(paired, facts),
        len(paired.rows_a) + paired.shared,
        paired.shared,
        paired.only_a,
        paired.only_b,
        found,
        rule(limits, found, _unpaired(paired)),
    )


def _apart(paired: Paired) -> str:
    """Say that the two were asked different things, where one holds cells that the other does not."""
    alone = sum(paired.only_a.values()), sum(paired.only_b.values())
    if not any(alone):
        return ""
    return f" They were not asked the same: {alone[0]:,} cells of A and {alone[1]:,} of B have no partner."


def _side(run: Run) -> Side:
    name = run.folder.resolve().name  # never the path, which is of this machine
    return Side(name, run.suite.name, run.suite.protocol, len(run.cells), sum(c.id in run.records for c in run.cells))


def _unpaired(paired: Paired) -> dict[str, int]:
    """Count by metric the values of A's cells that B does not hold; what is the same computation counts once."""
    alone = paired.alone_a[paired.alone_a["same_as"] == ""]
    return {metric: int(alone[metric].notna().sum()) for metric in OUTCOMES if metric in alone}
