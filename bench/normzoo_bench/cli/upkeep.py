"""Commands around runs: doctor, clean."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from normzoo_bench.cli.app import (
    CellId,
    Device,
    Json,
    Load,
    Normalizers,
    Repeats,
    Seeds,
    Set,
    Tune,
    app,
    out_console,
    print_json,
)
from normzoo_bench.cli.asked import asked_for


@app.command()
def doctor(
    suite: Annotated[
        str | None, typer.Argument(metavar="SUITE", help="A suite, whose data and plan are looked at, too.")
    ] = None,
    settings: Set = None,
    normalizers: Normalizers = None,
    seeds: Seeds = None,
    repeats: Repeats = None,
    device: Device = None,
    load: Load = None,
    cell: CellId = None,
    tune: Tune = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/SUITE unless told.")] = None,
    as_json: Json = False,
) -> None:
    """Look for what would stop a run on this machine.

    Exit code 1 when something would.
    """
    from normzoo_bench.commands import doctor as look
    from normzoo_bench.upkeep_table import print_diagnosis

    asked = asked_for(settings, normalizers, seeds, repeats, device, load, cell, tune)
    findings = look(suite, out=out, **asked)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        print_diagnosis(out_console, findings)
    raise typer.Exit(1 if any(finding.level == "fault" for finding in findings) else 0)


@app.command()
def clean(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="RUN", help="Run folders.")] = None,
    older: Annotated[
        bool, typer.Option("--older", help="Also older attempts at cells that were measured again.")
    ] = False,
    outdated: Annotated[
        bool, typer.Option("--outdated", help="Also records of cells that the run does not plan any more.")
    ] = False,
    cache: Annotated[bool, typer.Option("--cache", help="All decoded data; it is decoded again when needed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing, and say what would be removed.")] = False,
    load: Load = None,
) -> None:
    """Remove from run folders what no longer counts; without options, half-written files alone."""
    from normzoo_bench.commands import clean as remove
    from normzoo_bench.upkeep_table import print_cleaned

    cleaned = remove(*(runs or []), older=older, outdated=outdated, cache=cache, dry_run=dry_run)
    print_cleaned(out_console, cleaned, dry_run)
