"""Commands that show records: report, figures, compare, export, publish."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from normzoo_bench.cli.app import Json, Load, RunFolder, app, out_console, print_json


class Format(StrEnum):
    """What figures can be written as."""

    pdf = "pdf"
    png = "png"
    svg = "svg"


@app.command()
def report(
    run: RunFolder,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file; RUN/report.html unless told.")
    ] = None,
    benchmarks: Annotated[
        list[Path] | None,
        typer.Option("--benchmarks", help="A file of pytest-benchmark (--benchmark-json), to be shown beside the run."),
    ] = None,
    load: Load = None,
) -> None:
    """Render a run's records as one HTML file."""
    from normzoo_reports import report as render

    out_console.print(f"report: {render(run, output, benchmarks or ())}", markup=False, soft_wrap=True)


@app.command()
def figures(
    run: RunFolder,
    to: Annotated[Path | None, typer.Option(help="The folder that they go to; RUN/figures unless told.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="What papers, slides or pages want.")] = Format.pdf,
    only: Annotated[
        list[int] | None, typer.Option(help="The number of a figure, instead of all; may stand several times.")
    ] = None,
    load: Load = None,
) -> None:
    """Write the figures of a run's report as files for papers."""
    from normzoo_reports import figures as write

    for file in write(run, to, format_.value, only or ()):
        out_console.print(f"wrote {file}", markup=False, soft_wrap=True)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The run folder that is the baseline.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The run folder that is held against it.")],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="METRIC:LIMIT",
            help="Exit with 3 when METRIC got worse by more: test_accuracy:-0.5pp, step_ms:+5%, peak_mib:+10; "
            "may stand several times.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it as one HTML file, too.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="List what did not change as well.")] = False,
    load: Load = None,
    as_json: Json = False,
) -> None:
    """Say what changed from run A to run B.

    Exit code 3 when a --fail-on finds a regression.
    """
    from normzoo_bench.compare_table import print_comparison, print_rulings
    from normzoo_reports import compare as hold

    found = hold(a, b, fail_on or (), output)
    if as_json:
        print_json(found.to_json())
    else:
        print_comparison(out_console, found, everything)
        if output is not None:
            out_console.print(f"page: {output}", markup=False, soft_wrap=True)
        print_rulings(out_console, found)
    raise typer.Exit(3 if found.regressed else 0)


@app.command()
def export(
    run: RunFolder,
    file: Annotated[Path, typer.Argument(metavar="FILE.parquet|.csv", help="Where the table goes.")],
    load: Load = None,
) -> None:
    """Write a run's records as one table.

    For pandas, DuckDB or a spreadsheet.
    """
    from normzoo_reports import export as write

    out_console.print(f"records: {write(run, file)}", markup=False, soft_wrap=True)


@app.command()
def publish(
    to: Annotated[
        str, typer.Option(metavar="DEST", help="A folder, a URL that fsspec knows, or git:BRANCH of this repository.")
    ],
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN…", help="Run folders; without any the index is made anew.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; one per core unless told.")] = None,
    load: Load = None,
) -> None:
    """Publish reports as a static site, or add to one.

    With an index, a leaderboard, and the records to download.
    """
    from normzoo_reports import publish as write

    for line in write(runs or [], to, dry_run, jobs).lines:
        out_console.print(line, markup=False, soft_wrap=True)
