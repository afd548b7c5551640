"""All figures of a run, as they stand on its page, as files for papers and slides."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from normzoo_reports.drawing.drawing import Drawing, Format
from normzoo_reports.drawing.figures import show_figures
from normzoo_reports.drawing.pareto import pareto
from normzoo_reports.drawing.profiles import show_accuracies, show_times
from normzoo_reports.drawing.ranks import show_rankings
from normzoo_reports.drawing.roofline import rooflines
from normzoo_reports.drawing.splits import pictures
from normzoo_reports.files import replace
from normzoo_reports.load import load_frame
from normzoo_suites import Run, SuiteError


def drawings(run: Run) -> Iterator[Drawing]:
    """Give every drawing of the run's page, in its order."""
    table = load_frame(run)
    for shown in show_figures(run, table):
        if shown.drawing is not None:
            yield shown.drawing
    front = pareto(run, table)
    if front is not None:
        yield front.drawing
    for picture in pictures(run):
        yield picture.drawing
    yield from (one.drawing for one in show_rankings(run, table) if one.drawing is not None)
    if runs := show_accuracies(run, table):
        yield runs.drawing
    yield from (one.drawing for one in show_times(run, table))
    for group in rooflines(table):
        for roofline in group:
            yield roofline.drawing


def save(run: Run, to: Path, format_: Format, only: Collection[int] = ()) -> list[Path]:
    """Write the drawings of a run into a folder, or those of these numbers, named by number and title.

    Raises:
        SuiteError: when the run has none, or none of a number, or a file cannot be written.

    """
    found = dict(enumerate(drawings(run), start=1))
    for number in only:
        if number not in found:
            raise SuiteError(f"{run.folder} has no figure {number}; it has {len(found)}")
    if not found:
        raise SuiteError(f"{run.folder} has nothing to draw: its suite has no figures that its records can fill")
    files = []
    try:
        to.mkdir(parents=True, exist_ok=True)
        for number, drawing in found.items():
            if only and number not in only:
                continue
            files.append(to / f"{number:02d}_{_plain(drawing.title)}.{format_}")
            drawn = io.BytesIO()
            drawing.save(drawn, format_)
            replace(drawn.getvalue(), files[-1])
    except OSError as error:
        raise SuiteError(f"cannot write figures to {to}: {error.strerror or error}; name another folder") from None
    return files


def _plain(title: str) -> str:
    """Make a file's name of a title: every file system takes it, and LaTeX too."""
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:60] or "figure"
