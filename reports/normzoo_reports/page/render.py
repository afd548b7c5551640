"""The page: everything a run has to say, in one HTML file that asks nothing of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from normzoo_reports import words
from normzoo_reports.digest import summarize
from normzoo_reports.drawing import splits
from normzoo_reports.drawing.figures import Shown, show_figures
from normzoo_reports.drawing.pareto import pareto
from normzoo_reports.drawing.profiles import show_accuracies, show_times
from normzoo_reports.drawing.ranks import show_rankings
from normzoo_reports.drawing.roofline import rooflines
from normzoo_reports.findings import protocol, speed
from normzoo_reports.findings.benchmarks import Session
from normzoo_reports.findings.cards import cards
from normzoo_reports.findings.cells import again, tried
from normzoo_reports.findings.environments import differing, environments
from normzoo_reports.findings.insights import Insight, insights
from normzoo_reports.findings.problems import problems
from normzoo_reports.findings.readings import Readings, explained, readings, streams
from normzoo_reports.findings.tuning import tuning
from normzoo_reports.load import load_frame, tuned
from normzoo_reports.page.contents import contents, linked
from normzoo_reports.page.html import fill
from normzoo_reports.page.records import detailed, filters, island
from normzoo_reports.page.script import script
from normzoo_reports.statistics.power import POWER
from normzoo_reports.verdict import Verdict
from normzoo_suites import Run
from normzoo_suites.claims import seeds_needed


def render(run: Run, sessions: Sequence[Session] = ()) -> str:
    """Give the page of a run, with sessions of pytest-benchmark beside. The same records always give the same page."""
    table = load_frame(run)
    summary = summarize(run, table)
    found = environments(run)
    figures = show_figures(run, table)
    context = {
        "run": run,
        "summary": summary,
        "counted": _counted(summary.statuses, summary.same),
        "found": _found(summary.verdicts),
        "measured": protocol.measured(run),
        "needed": seeds_needed(len(summary.verdicts)),
        "estimated": any(verdict.needed for verdict in summary.verdicts),
        "power": POWER,
        "published": any(verdict.claim.published for verdict in summary.verdicts),
        "figures": figures,
        "first": next((figure for figure in figures if figure.drawing), None),
        "pareto": pareto(run, table),
        "readings": (read := readings(run, table)),
        "streams": streams(run, table),
        "insights": (seen := insights(run, table)),
        "explained": explained(table),
        "rankings": show_rankings(run, table),
        "of_accuracies": show_accuracies(run, table),
        "of_times": show_times(run, table),
        "tuning": tuning(run),
        "pictures": splits.pictures(run),
        "costs": (costs := speed.sections(run, table)),
        "rooflines": rooflines(table),
        "sessions": sessions,
        "problems": problems(run, table),
        "cards": cards(run),
        "environments": found,
        "differing": differing(found),
        "measures": set(table["measure"]),
        "ranks": protocol.ranks(run),
        "again": again(run, table, detailed(run)) + tried(run, detailed(run)),
        "detailed": detailed(run),
        "script": script(),
        "filters": (known := filters(table, tuned(run))),
        "metrics": _metrics(figures, costs, read, seen),
        "island": island(run, table, known),
        "contents": contents,
        "linked": linked,
    }
    return fill("run/page.html.j2", context)


def _metrics(figures: list[Shown], costs: list[speed.Section], read: list[Readings], seen: list[Insight]) -> list[str]:
    """Name the metrics that the page has tables of, each once."""
    tables = [figure.table for figure in figures if figure.table] + [one.table for one in read]
    tables += [table for one in seen for table in one.tables]
    found = [table.metric for table in tables] + [table.metric for section in costs for table in section.tables]
    return list(dict.fromkeys(found))


def _counted(statuses: Mapping[str, int], same: int) -> str:
    """Say what became of the cells: "240 cells: 196 measured, 4 crashed, 40 the same computation as another"."""
    parts = [f"{statuses[key]:,} {phrase}" for key, phrase in words.STATUS.items() if key in statuses]
    parts += [f"{same:,} the same computation as another by design, whose result they share"] if same else []
    return f"{words.count(sum(statuses.values()) + same, 'cell')}: {', '.join(parts)}."


def _found(verdicts: tuple[Verdict, ...]) -> str:
    """Say how the claims came out, in one sentence."""
    if not verdicts:
        return "This suite makes no claims."
    outcomes = [verdict.outcome for verdict in verdicts]
    phrases = {
        "supported": "supported",
        "refuted": "refuted",
        "inconclusive": "inconclusive",
        "not asked": "not asked of this run",
    }
    parts = [f"{outcomes.count(key)} {phrase}" for key, phrase in phrases.items() if key in outcomes]
    return f"Of {words.count(len(verdicts), 'claim')}: {', '.join(parts)}."
