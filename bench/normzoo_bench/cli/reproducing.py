"""The command that measures one cell of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normzoo_bench.cli.app import Json, Load, RunFolder, app, out_console, print_json
from normzoo_bench.cli.measuring import seconds


@app.command()
def reproduce(
    run: RunFolder,
    cell: Annotated[str, typer.Argument(metavar="CELL", help="The beginning of a cell's id.")],
    load: Load = None,
    data: Annotated[
        str | None, typer.Option(help="Where the data set lies, if it is a folder that is not found by itself.")
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also where the normalizer's source or the data have changed.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A run folder of its own that keeps the new record.")] = None,
    timeout: Annotated[str, typer.Option(help="Such as 90s, 30m or 2h.")] = "30m",
    as_json: Json = False,
) -> None:
    """Measure one cell of a run again in the same way, beside what is stored.

    Exit code 0 when all numbers agree, 3 when some do not, 1 when the cell fails. The run stays as it is.
    """
    from normzoo_bench.again_table import print_reproduced
    from normzoo_bench.commands import reproduce as measure

    limit = seconds("--timeout", timeout)
    found = measure(run, cell, load=load or [], data=data, anyway=anyway, out=out, timeout=limit)
    if as_json:
        print_json(found.to_json())
    else:
        print_reproduced(out_console, found)
    raise typer.Exit(found.exit_code)
