"""Commands that show and hold normalizers, suites and this machine: list, show, new, check, env."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from normzoo_bench.cli.app import Json, Load, app, err_console, load_plugins, out_console, print_json

if TYPE_CHECKING:
    from normzoo_bench.contracts import Checked


class Section(StrEnum):
    """What can be listed."""

    normalizers = "normalizers"
    suites = "suites"
    datasets = "datasets"
    models = "models"


@app.command("list")
def list_(
    section: Annotated[Section | None, typer.Argument()] = None, load: Load = None, as_json: Json = False
) -> None:
    """List normalizers, suites, data sets and models."""
    from normzoo_bench.terminal import catalog, print_catalog

    load_plugins(load)
    found = catalog()
    if section:
        found = {section.value: found[section.value]}
    if as_json:
        print_json(found)
    else:
        print_catalog(out_console, found)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A normalizer or a suite.")], load: Load = None) -> None:
    """Show a normalizer's card, or a suite and its claims."""
    import normzoo
    from normzoo_bench.errors import UsageError
    from normzoo_bench.terminal import print_card, print_suite
    from normzoo_suites import load_suite, suite_names
    from normzoo_suites.errors import suggest

    load_plugins(load)
    if name in normzoo.names():
        print_card(out_console, normzoo.card(name))
    elif name in suite_names() or name.endswith(".toml"):
        print_suite(out_console, load_suite(name))
    else:
        raise UsageError(f"unknown name {name!r}; {suggest(name, [*normzoo.names(), *suite_names()])}")


@app.command()
def new(name: Annotated[str, typer.Argument(help="Its name, snake_case.")], load: Load = None) -> None:
    """Write a normalizer's file and test to start from."""
    from normzoo import scaffold

    load_plugins(load)
    for file in scaffold.new(name):
        out_console.print(f"wrote {file}", markup=False)
    out_console.print(f"next: normzoo check {name}.py", markup=False)


@app.command()
def check(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="NAME|FILE.py", help="Normalizers, or files with normalizers.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="A run folder: its report then has what is found; without names, all its normalizers."),
    ] = None,
    load: Load = None,
    as_json: Json = False,
) -> None:
    """Hold normalizers to what their cards claim.

    Exit code 1 when one does not keep it.
    """
    from normzoo_bench.terminal import print_findings

    found = hold(targets or [], to, load)
    if as_json:
        print_json([json.loads(result.to_json()) for result in found.results.values()])
    else:
        print_findings(out_console, found.results.values())
    if found.folder:
        err_console.print(f"kept in {found.folder}; `normzoo report {to}` shows it", markup=False, soft_wrap=True)
    raise typer.Exit(0 if found.kept else 1)


@app.command()
def env(load: Load = None, as_json: Json = False) -> None:
    """Show what would be measured on: versions and hardware."""
    from normzoo_bench.commands import env as look
    from normzoo_bench.terminal import table

    found = look()
    if as_json:
        print_json(found)
    else:
        out_console.print(table("", ["what", ""], list(found.items())))


def hold(targets: list[str], to: Path | None, load: list[str] | None) -> Checked:
    """Run the contract kit, and say meanwhile of whom."""
    from normzoo_bench.commands import check as run_checks

    def announce(names: Sequence[str]) -> None:
        err_console.print(f"checking {', '.join(names)}: up to 20 s each", markup=False)

    found = run_checks(*targets, to=to, load=load or [], announce=announce)
    for reason in found.left_out.values():
        err_console.print(f"not checked: {reason}", markup=False)
    return found
