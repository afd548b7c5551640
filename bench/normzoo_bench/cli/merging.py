"""The command that joins runs: merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normzoo_bench.cli.app import Load, app, out_console


@app.command()
def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run folders of one suite; they are only read.")],
    to: Annotated[
        Path, typer.Option(metavar="DEST", help="A new folder, or one with a run of the suite, which is joined, too.")
    ],
    prefer: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Whose records stand where two contradict each other; else refused."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    load: Load = None,
) -> None:
    """Join run folders into one: shards, copies, extensions.

    Contradictions are refused.
    """
    from normzoo_bench.commands import merge as join

    for line in join(*runs, to=to, prefer=prefer, dry_run=dry_run).lines:
        out_console.print(line, markup=False, soft_wrap=True)
