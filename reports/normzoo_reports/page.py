"""The page: everything a run has to say, in one HTML file that asks nothing of the network."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from normzoo_reports import protocol, sections, speed, splits, style, words
from normzoo_reports.benchmarks import Session
from normzoo_reports.digest import summarize
from normzoo_reports.figures import show_figures
from normzoo_reports.load import load_frame
from normzoo_reports.readings import explained, readings, streams
from normzoo_reports.results import Verdict
from normzoo_reports.roofline import rooflines
from normzoo_reports.tuning import tuning
from normzoo_suites import Run, SuiteError
from normzoo_suites.claims import seeds_needed


def render(run: Run, sessions: Sequence[Session] = ()) -> str:
    """Give the page of a run, with sessions of pytest-benchmark beside. The same records always give the same page."""
    table = load_frame(run)
    summary = summarize(run, table)
    found = sections.environments(run)
    context = {
        "run": run,
        "summary": summary,
        "counted": _counted(summary.statuses, summary.same),
        "found": _found(summary.verdicts),
        "measured": protocol.measured(run),
        "needed": seeds_needed(len(summary.verdicts)),
        "published": any(verdict.claim.published for verdict in summary.verdicts),
        "figures": show_figures(run, table),
        "readings": readings(run, table),
        "streams": streams(run, table),
        "explained": explained(table),
        "tuning": tuning(run),
        "pictures": splits.pictures(run),
        "costs": speed.sections(run, table),
        "rooflines": rooflines(table),
        "sessions": sessions,
        "problems": sections.problems(run, table),
        "cards": sections.cards(run),
        "environments": found,
        "differing": sections.differing(found),
        "measures": set(table["measure"]),
        "ranks": protocol.ranks(run),
        "again": sections.again(run, table),
        "light": style.variables(style.LIGHT),
        "dark": style.variables(style.DARK),
    }
    return _templates().get_template("report.html.j2").render(context)


def write(page: str, out: Path) -> Path:
    """Write a page beside its place and rename it, so that nobody ever reads half of one.

    Raises:
        SuiteError: when it cannot be written there.

    """
    if out.is_dir():
        raise SuiteError(
            f"cannot write the report to {out}: it is a folder; name a file, such as {out / 'report.html'}"
        )
    beside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(page, encoding="utf-8")
        beside.replace(out)
    except OSError as error:
        with contextlib.suppress(OSError):  # where its folder is none, there is nothing to take away
            beside.unlink()
        raise SuiteError(f"cannot write the report to {out}: {error.strerror or error}; name another file") from None
    return out


def _templates() -> jinja2.Environment:
    folder = resources.files("normzoo_reports") / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # figures are our own markup with their texts escaped by the XML writer; all else is escaped by the template
    environment.filters.update(drawn=Markup, swatch=_swatch, count=words.count, breakable=_breakable)
    environment.globals.update(label=words.label, status_words=words.STATUS, grades=words.GRADES)
    return environment


def _swatch(normalizer: str) -> str:
    return f"var(--series-{style.normalizer_look(normalizer).slot})"


def _breakable(name: str) -> Markup:
    """Let a long name be broken where its words end."""
    return Markup("<wbr>").join(words.pieces(name))


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
