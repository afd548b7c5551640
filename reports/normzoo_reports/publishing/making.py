"""A report made for a site: its page, its downloads and its entry, all from one reading of the records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from normzoo_reports.digest import read, summarize
from normzoo_reports.exporting import to_csv, to_parquet
from normzoo_reports.findings.protocol import measured
from normzoo_reports.load import load_frame
from normzoo_reports.page.render import render
from normzoo_reports.publishing import fingerprints
from normzoo_reports.publishing.boards import boards, hardware
from normzoo_reports.publishing.entries import CSV, NAME, PAGE, PARQUET, Entry, Finding, Thumbnail
from normzoo_reports.publishing.thumbnail import small
from normzoo_reports.verdict import Verdict
from normzoo_suites import Run


@dataclass(frozen=True)
class Made:
    """A report's files by name, the entry last, and the entry itself."""

    files: dict[str, bytes]
    entry: Entry


def make(folder: Path) -> Made:
    """Make a run's report with everything that a site holds of it.

    Raises:
        SuiteError: when it is no run folder, or has no readable record yet.

    """
    records = fingerprints.of_records(folder, but=NAME)
    run = read(folder)
    page = render(run)
    downloads = {PARQUET: to_parquet(run), CSV: to_csv(run)}
    sizes = {name: len(content) for name, content in downloads.items()}
    entry = describe(run, records, sizes, first_figure(page))
    return Made({PAGE: page.encode("utf-8", "replace"), **downloads, NAME: entry.to_bytes()}, entry)


def describe(run: Run, records: str, sizes: dict[str, int], thumbnail: Thumbnail | None) -> Entry:
    """Say in few words what a run measured and found."""
    table = load_frame(run)
    summary = summarize(run, table)
    return Entry(
        records=records,
        code=fingerprints.of_code(),
        witnesses=fingerprints.witnesses(run.folder),
        suite=summary.suite,
        question=summary.question,
        protocol=run.suite.protocol,
        measured=measured(run),
        statuses=summary.statuses,
        count=len({record.id for record in run.records.values()}),
        findings=tuple(_finding(verdict) for verdict in summary.asked),
        normalizers=_distinct(table, "normalizer"),
        datasets=_distinct(table, "dataset"),
        models=_distinct(table, "model"),
        hardware=tuple(dict.fromkeys(filter(None, hardware(run).values()))),
        sizes=sizes,
        thumbnail=thumbnail,
        boards=boards(run, table),
    )


def first_figure(page: str) -> Thumbnail | None:
    """Give the first figure of a page, small, or None; taken from there, since drawing it again would take as long."""
    found = _FIGURE.search(page)
    try:
        title, svg = small(found[0]) if found else ("", "")
    except ElementTree.ParseError:  # HTML forgives what XML does not, such as a control character in a name
        return None
    return Thumbnail(title=title, svg=svg) if svg else None


_FIGURE = re.compile(r'<svg [^>]*\brole="img"[^>]*>.*?</svg>', re.DOTALL)


def _finding(verdict: Verdict) -> Finding:
    return Finding(outcome=verdict.outcome, says=verdict.claim.says, effect=verdict.effect_text)


def _distinct(table: pd.DataFrame, key: str) -> tuple[str, ...]:
    values: Iterable[object] = table[key].dropna() if key in table else ()
    return tuple(dict.fromkeys(str(value) for value in values))
