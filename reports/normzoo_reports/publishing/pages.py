"""The site's own pages, made of the entries alone: the index of reports and the leaderboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from normzoo_reports import words
from normzoo_reports.page.html import fill
from normzoo_reports.publishing.entries import CSV, PAGE, PARQUET, Entry
from normzoo_reports.publishing.leaderboard import leaderboard
from normzoo_reports.publishing.thumbnail import checked

PAGES = ("leaderboard.html", "index.html")
"""In the order of writing."""
MARK = "<!-- a site of normzoo publish -->"
"""By which a page of ours is told from others."""


@dataclass(frozen=True)
class Shown:
    """A report in the index: its entry, its folder, its first figure, and its downloads."""

    folder: str
    entry: Entry
    figure: Markup | None
    outcomes: tuple[tuple[str, int], ...]
    downloads: tuple[tuple[str, str, str], ...]

    @property
    def records(self) -> str:
        """How many records, and what became of those that are not plainly measured."""
        other = {key: number for key, number in self.entry.statuses.items() if key != "ok"}
        told = [f"{number} {words.STATUS.get(key, key)}" for key, number in other.items()]
        return ", ".join([words.count(self.entry.count, "record"), *told])


def pages(entries: Mapping[str, Entry]) -> dict[str, bytes]:
    """Give the site's pages by name, in the order of writing; the same entries always give the same pages."""
    shown = [_shown(folder, entry, number) for number, (folder, entry) in enumerate(sorted(entries.items()), start=1)]
    suites: dict[tuple[str, int], list[Shown]] = {}
    for one in sorted(shown, key=lambda one: (one.entry.suite, one.entry.protocol, one.folder)):
        suites.setdefault((one.entry.suite, one.entry.protocol), []).append(one)
    board = leaderboard(entries)
    common = {"mark": Markup(MARK), "page": PAGE}
    made = (
        fill("site/leaderboard.html.j2", {**common, "sections": board}),
        fill("site/index.html.j2", {**common, "suites": suites, "count": len(shown), "board": bool(board)}),
    )
    return dict(zip(PAGES, (page.encode() for page in made), strict=True))


def _shown(folder: str, entry: Entry, number: int) -> Shown:
    figure = None
    if entry.thumbnail:
        figure = checked(entry.thumbnail.svg, f"t{number}-", entry.thumbnail.title)
    outcomes = Counter[str](finding.outcome for finding in entry.findings)
    order = [outcome for outcome in ("supported", "refuted", "inconclusive") if outcome in outcomes]
    downloads = tuple(
        (kind, name, _size(entry.sizes[name]))
        for kind, name in (("Parquet", PARQUET), ("CSV", CSV))
        if name in entry.sizes
    )
    return Shown(folder, entry, figure, tuple((outcome, outcomes[outcome]) for outcome in order), downloads)


def _size(number: int) -> str:
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{max(1, round(number / 1e3)):,} kB"
