"""The command line. The only module that sees every room; each is imported where a command needs it."""

from __future__ import annotations

import json
import re
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normzoo_bench.commands import Asked
    from normzoo_bench.contracts import Checked

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
Device = Annotated[str | None, typer.Option(help="cpu, cuda or auto.")]
CellId = Annotated[str | None, typer.Option("--cell", help="Only the cell whose id starts like this.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
SuiteName = Annotated[str, typer.Argument(metavar="SUITE", help="A built-in suite's name, or a TOML file.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


class Section(StrEnum):
    """What can be listed."""

    normalizers = "normalizers"
    suites = "suites"
    datasets = "datasets"
    models = "models"


class Format(StrEnum):
    """What figures can be written as."""

    pdf = "pdf"
    png = "png"
    svg = "svg"


def main() -> None:
    """Run the command line; a user's mistake gets one message and exit code 2, never a traceback."""
    try:
        app()
    except Exception as error:  # of every room's own kind; what is not ours is raised again
        if not type(error).__module__.startswith("normzoo"):
            raise  # a fault of ours: its traceback is wanted
        err_console.print(f"normzoo: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)


@app.command("list")
def list_(
    section: Annotated[Section | None, typer.Argument()] = None, load: Load = None, as_json: Json = False
) -> None:
    """List normalizers, suites, data sets and models."""
    from normzoo_bench.terminal import catalog, print_catalog

    _load(load)
    found = catalog()
    if section:
        found = {section.value: found[section.value]}
    if as_json:
        _print_json(found)
    else:
        print_catalog(out_console, found)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A normalizer or a suite.")], load: Load = None) -> None:
    """Show a normalizer's card, or a suite's question, cells and claims."""
    import normzoo
    from normzoo_bench.errors import UsageError
    from normzoo_bench.terminal import print_card, print_suite
    from normzoo_suites import load_suite, suite_names
    from normzoo_suites.errors import suggest

    _load(load)
    if name in normzoo.names():
        print_card(out_console, normzoo.card(name))
    elif name in suite_names() or name.endswith(".toml"):
        print_suite(out_console, load_suite(name))
    else:
        raise UsageError(f"unknown name {name!r}; {suggest(name, [*normzoo.names(), *suite_names()])}")


@app.command()
def new(name: Annotated[str, typer.Argument(help="Its name, snake_case.")], load: Load = None) -> None:
    """Write a normalizer's file and test to start from, in this folder."""
    from normzoo import scaffold

    _load(load)
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
    """Hold normalizers to what their cards claim; exit code 1 when one does not keep it."""
    from normzoo_bench.terminal import print_findings

    found = _check(targets or [], to, load)
    if as_json:
        _print_json([json.loads(result.to_json()) for result in found.results.values()])
    else:
        print_findings(out_console, found.results.values())
    if found.folder:
        err_console.print(f"kept in {found.folder}; `normzoo report {to}` shows it", markup=False, soft_wrap=True)
    raise typer.Exit(0 if found.kept else 1)


@app.command()
def plan(
    suite: SuiteName,
    settings: Set = None,
    normalizers: Normalizers = None,
    seeds: Seeds = None,
    repeats: Repeats = None,
    device: Device = None,
    load: Load = None,
    cell: CellId = None,
    tune: Tune = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/SUITE unless told.")] = None,
    cells: Annotated[bool, typer.Option("--cells", help="List every cell with its id.")] = False,
) -> None:
    """Show what a run would measure, what it would skip and why."""
    from normzoo_bench.commands import default_folder
    from normzoo_bench.commands import plan as make
    from normzoo_bench.plan_table import print_plan
    from normzoo_bench.pool import default_jobs
    from normzoo_bench.store import Store

    made = make(suite, out=out, **_asked(settings, normalizers, seeds, repeats, device, load, cell, tune))
    store = Store(out or default_folder(made.suite.name, cell))
    print_plan(out_console, made, store, default_jobs(made.cells), cells)


@app.command()
def run(
    suite: SuiteName,
    settings: Set = None,
    normalizers: Normalizers = None,
    seeds: Seeds = None,
    repeats: Repeats = None,
    device: Device = None,
    load: Load = None,
    cell: CellId = None,
    tune: Tune = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/SUITE unless told.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Worker processes; one per core, or one on a GPU, unless told.")
    ] = None,
    timeout: Annotated[str, typer.Option(help="Per cell, such as 90s, 30m or 2h.")] = "30m",
    retry: Annotated[str, typer.Option(help="Statuses to measure again, such as crashed,timeout.")] = "",
    together: Annotated[int, typer.Option(help="Seeds of one cell that train side by side on a GPU.")] = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Afterwards hold the normalizers to their cards, for the report.")
    ] = False,
) -> None:
    """Run a suite, or what of it was not measured yet, and write its report."""
    from normzoo_bench.commands import run as measure
    from normzoo_bench.terminal import print_findings, print_summary
    from normzoo_reports import report as render
    from normzoo_reports import summary

    # a cluster's or a shell's polite kill is the same as Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked = _asked(settings, normalizers, seeds, repeats, device, load, cell, tune)
    statuses = [status for status in retry.split(",") if status]
    result = measure(suite, out=out, jobs=jobs, timeout=_seconds(timeout), retry=statuses, together=together, **asked)
    if result.interrupted:
        err_console.print(f"stopped; {result.measured} new cells are kept in {result.folder}", markup=False)
        err_console.print("the same command goes on from there", markup=False)
        raise typer.Exit(result.exit_code)
    if result.statuses:
        print_summary(out_console, summary(result.folder))
    ended = ", ".join(f"{count} {status}" for status, count in sorted(result.statuses.items()))
    out_console.print(
        f"\n{result.measured} cells measured, {result.resumed} had been; all ended: {ended}", markup=False
    )
    kept = True
    if check and result.statuses:
        found = _check([], result.folder, None)  # what --load names is loaded by now
        print_findings(out_console, found.results.values(), faults_only=True)
        kept = found.kept
    out_console.print(f"report: {render(result.folder)}", markup=False, soft_wrap=True)
    raise typer.Exit(result.exit_code or (0 if kept else 1))


@app.command()
def status(run: RunFolder, load: Load = None) -> None:
    """Say how far a run is, and what went wrong in it."""
    from normzoo_bench.commands import status as look
    from normzoo_bench.terminal import print_status

    print_status(out_console, look(run))


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
    """Say what changed from run A to run B; exit code 3 when a --fail-on finds a regression."""
    from normzoo_bench.compare_table import print_comparison, print_rulings
    from normzoo_reports import compare as hold

    found = hold(a, b, fail_on or (), output)
    if as_json:
        _print_json(found.to_json())
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
    """Write a run's records as one table, for pandas, DuckDB or a spreadsheet."""
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
    """Publish reports as a static site, or add to one: an index, a leaderboard, records to download."""
    from normzoo_reports import publish as write

    for line in write(runs or [], to, dry_run, jobs).lines:
        out_console.print(line, markup=False, soft_wrap=True)


@app.command()
def env(load: Load = None, as_json: Json = False) -> None:
    """Show what would be measured on: versions and hardware."""
    from normzoo_bench.commands import env as look
    from normzoo_bench.terminal import table

    found = look()
    if as_json:
        _print_json(found)
    else:
        out_console.print(table("", ["what", ""], list(found.items())))


def _check(targets: list[str], to: Path | None, load: list[str] | None) -> Checked:
    from normzoo_bench.commands import check as hold

    def announce(names: Sequence[str]) -> None:
        err_console.print(f"checking {', '.join(names)}: up to 20 s each", markup=False)

    found = hold(*targets, to=to, load=load or [], announce=announce)
    for reason in found.left_out.values():
        err_console.print(f"not checked: {reason}", markup=False)
    return found


def _load(paths: list[str] | None) -> None:
    from normzoo import plugins

    for path in paths or []:
        plugins.load(path)


def _asked(
    settings: list[str] | None,
    normalizers: str | None,
    seeds: int | None,
    repeats: int | None,
    device: str | None,
    load: list[str] | None,
    cell: str | None,
    tune: list[str] | None,
) -> Asked:
    return {
        "settings": _pairs("--set", settings),
        "normalizers": normalizers,
        "seeds": seeds,
        "repeats": repeats,
        "device": device,
        "load": load or [],
        "cell": cell,
        "tune": "off" if tune == ["off"] else _pairs("--tune", tune) if tune else None,
    }


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    from normzoo_bench.errors import UsageError

    pairs: dict[str, str] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{option} takes KEY=VALUE{', or off alone' * (option == '--tune')}, got {text!r}")
        if key.strip() in pairs:
            raise UsageError(f"{option} {key.strip()}= stands twice; write {option} {key.strip()}=one,two")
        pairs[key.strip()] = value
    return pairs


def _seconds(text: str) -> float:
    from normzoo_bench.errors import UsageError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise UsageError(f"--timeout takes a time such as 90s, 30m or 2h, got {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
