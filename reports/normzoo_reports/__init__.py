"""What is shown: a run folder in, one self-contained HTML file out. Reads records, never imports torch.

pandas and seaborn are imported when a report is made, not with this package: `normzoo --help` passes here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from normzoo_reports.results import Estimate, Pivot, Summary, Verdict

__all__ = ["Estimate", "Pivot", "Summary", "Verdict", "report", "summary"]


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


def summary(run: str | Path) -> Summary:
    """Give a run's results in a few rows, for a terminal.

    Raises:
        SuiteError: when it is no run folder, or has no readable record yet.

    """
    from normzoo_reports.digest import read, summarize

    return summarize(read(run))
