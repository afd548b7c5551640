"""What is shown: a run folder in, one self-contained HTML file out. Reads records, never imports torch.

pandas and seaborn are imported when a report is made, not with this package: `normzoo --help` passes here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from normzoo_reports.comparing.comparison import Comparison
from normzoo_reports.publishing.outcome import Published
from normzoo_reports.results import Estimate, Pivot, Summary
from normzoo_reports.verdict import Verdict

__all__ = [
    "Comparison", "Estimate", "Pivot", "Published", "Summary", "Verdict",
    "compare", "export", "figures", "publish", "report", "summary",
]  # fmt: skip


def report(run: str | Path, out: str | Path | None = None, benchmarks: Iterable[str | Path] = ()) -> Path:
    """Render a run folder as one HTML file and give its path.

    Args:
        run: the run folder.
        out: where the page goes, `report.html` in the run folder unless told; missing folders are made. It is written
            beside its place and then renamed, so that a page is never half there.
        benchmarks: files of pytest-benchmark, to be shown beside the run.

    Raises:
        SuiteError: when it is no run folder, has no readable record yet, a file is none of pytest-benchmark, or the
            page cannot be written.

    """
    from normzoo_reports.digest import read
    from normzoo_reports.findings.benchmarks import read_sessions
    from normzoo_reports.page.html import write
    from normzoo_reports.page.render import render

    read_run = read(run)
    page = render(read_run, read_sessions(benchmarks))
    return write(page, Path(out) if out is not None else Path(run) / "report.html")


def figures(
    run: str | Path,
    to: str | Path | None = None,
    format: Literal["pdf", "png", "svg"] = "pdf",  # noqa: A002  # as savefig calls it
    only: Collection[int] = (),
) -> list[Path]:
    """Write the figures of a run's page as files of their own, on white, and give their paths.

    Args:
        run: the run folder.
        to: the folder that they go to, `figures` in the run folder unless told.
        format: ``pdf`` (fonts as TrueType), ``png`` (200 dots per inch) or ``svg`` (text as text).
        only: their numbers, in the order of the page; all unless told.

    Raises:
        SuiteError: when it is no run folder, has no readable record or nothing to draw or no figure of a number, the
            format is another, or a file cannot be written.

    """
    from typing import get_args

    from normzoo_reports.digest import read
    from normzoo_reports.drawing.drawing import Format
    from normzoo_reports.drawing.every import save
    from normzoo_suites import SuiteError

    if format not in get_args(Format):
        raise SuiteError(f"unknown format {format!r} of figures; one of {', '.join(get_args(Format))}")
    return save(read(run), Path(to) if to is not None else Path(run) / "figures", format, only)


def summary(run: str | Path) -> Summary:
    """Give a run's results in a few rows, for a terminal.

    Raises:
        SuiteError: when it is no run folder, or has no readable record yet.

    """
    from normzoo_reports.digest import read, summarize

    return summarize(read(run))


def compare(a: str | Path, b: str | Path, fail_on: Iterable[str] = (), out: str | Path | None = None) -> Comparison:
    """Compare two run folders cell by cell, and render the comparison as one HTML file where it is asked for.

    Cells pair by id: the same measure, protocol and settings, seed or repeat among them.

    Args:
        a: the run folder that is the baseline.
        b: the run folder that is held against it.
        fail_on: limits such as "test_accuracy:-0.5pp" (points), "step_ms:+5%" (of A's value) or "peak_mib:+10" (in the
            metric's unit); the sign is the direction that is bad. ``regressed`` says whether one is broken.
        out: where the page goes; there is none unless told.

    Raises:
        SuiteError: when one is no run folder or has no readable record; when the two are of different protocols, were
            measured on different data under the same name, or share no cell; when a limit is none, or nothing in A can
            be held against it; and when the page cannot be written.

    """
    from normzoo_reports.comparing.side_by_side import side_by_side

    found = side_by_side(a, b, fail_on)
    if out is not None:
        from normzoo_reports.comparing.page import render
        from normzoo_reports.page.html import write

        write(render(found), Path(out))
    return found


def export(run: str | Path, file: str | Path) -> Path:
    """Write a run's records as one table and give its path.

    A row per cell and trial that has a record; settings and metrics in columns of their names, empty where a row's
    measure has none. Parquet holds series and samples as lists, CSV leaves them out.

    Args:
        run: the run folder.
        file: where it goes; its name ends in ``.parquet`` or ``.csv``.

    Raises:
        SuiteError: when it is no run folder, has no readable record yet, the ending is another, or the file cannot be
            written.

    """
    from normzoo_reports.exporting import export as write

    return write(Path(run), Path(file))


def publish(runs: Iterable[str | Path], to: str | Path, dry_run: bool = False, jobs: int | None = None) -> Published:
    """Publish reports as a static site: an index, a leaderboard, and each report with its records to download.

    What the site holds already stays, and what is up to date is not made again; nothing is ever removed.

    Args:
        runs: run folders; one that lies in the destination keeps its page there. Files are skipped.
        to: a folder, a URL that fsspec knows, or ``git:BRANCH`` (``git:BRANCH:FOLDER``) of the repository that the
            working directory is in; a branch is committed to, never pushed.
        dry_run: say what would be written, and write nothing.
        jobs: how many processes make reports, one per core unless told.

    Raises:
        SuiteError: when one is no run folder or has no readable record, the destination cannot be written to or holds
            something else in its place, or another run of the same name was published there.

    """
    from normzoo_reports.publishing.site import publish as write

    return write(map(Path, runs), to, dry_run, jobs)
