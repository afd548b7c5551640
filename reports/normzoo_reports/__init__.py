"""What is shown: a run folder in, one self-contained HTML file out. Reads records, never imports torch.

pandas and seaborn are imported when a report is made, not with this package: `normzoo --help` passes here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from normzoo_reports.results import Estimate, Pivot, Summary, Verdict

__all__ = ["Estimate", "Pivot", "Summary", "Verdict", "figures", "report", "summary"]


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
) -> list[Path]:
    """Write the figures of a run's page as files of their own, on white, and give their paths.

    Args:
        run: the run folder.
        to: the folder that they go to, `figures` in the run folder unless told.
        format: ``pdf`` (fonts as TrueType), ``png`` (200 dots per inch) or ``svg`` (text as text).

    Raises:
        SuiteError: when it is no run folder, has no readable record or nothing to draw, the format is another, or a
            file cannot be written.

    """
    from typing import get_args

    from normzoo_reports.digest import read
    from normzoo_reports.drawing.drawing import Format
    from normzoo_reports.drawing.every import save
    from normzoo_suites import SuiteError

    if format not in get_args(Format):
        raise SuiteError(f"unknown format {format!r} of figures; one of {', '.join(get_args(Format))}")
    return save(read(run), Path(to) if to is not None else Path(run) / "figures", format)


def summary(run: str | Path) -> Summary:
    """Give a run's results in a few rows, for a terminal.

    Raises:
        SuiteError: when it is no run folder, or has no readable record yet.

    """
    from normzoo_reports.digest import read, summarize

    return summarize(read(run))
