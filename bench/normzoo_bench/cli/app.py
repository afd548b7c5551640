"""The application: its options, its consoles, and what becomes of a user's mistake."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Compare normalization layers: their accuracy and their speed, on your model, your data and your machine.",
)
out_console = Console(highlight=False, emoji=False)
err_console = Console(stderr=True, highlight=False, emoji=False)

Load = Annotated[
    list[str] | None, typer.Option("--load", help="A Python file with normalizers; may stand several times.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=V1,V2 replaces a setting of the suite by these values.")
]
Normalizers = Annotated[str | None, typer.Option(help="What to measure, comma-separated, instead of the suite's own.")]
Seeds = Annotated[int | None, typer.Option(help="How many seeds, from 0.")]
Repeats = Annotated[int | None, typer.Option(help="How many fresh processes for what is timed, from 0.")]
Tune = Annotated[
    list[str] | None,
    typer.Option("--tune", help="KEY=V1,V2 replaces the values that the suite's tuning tries; off tunes nothing."),
]
Shard = Annotated[
    str | None, typer.Option("--shard", help="I/N measures the I-th of N parts, for as many machines; see merge.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or auto.")]
CellId = Annotated[str | None, typer.Option("--cell", help="Only the cell whose id starts like this.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
SuiteName = Annotated[str, typer.Argument(metavar="SUITE", help="A built-in suite's name, or a TOML file.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


def main() -> None:
    """Run the command line; a user's mistake gets one message and exit code 2, never a traceback."""
    try:
        app()
    except Exception as error:  # of every room's own kind; what is not ours is raised again
        if not type(error).__module__.startswith("normzoo"):
            raise  # a fault of ours: its traceback is wanted
        err_console.print(f"normzoo: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)


def load_plugins(paths: list[str] | None) -> None:
    """Load the normalizers that ``--load`` names."""
    from normzoo import plugins

    for path in paths or []:
        plugins.load(path)


def print_json(value: object) -> None:
    """Print for machines."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
