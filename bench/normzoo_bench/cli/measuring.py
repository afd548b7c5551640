"""Commands that measure: plan, run, status."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from normzoo_bench.cli.app import (
    CellId,
    Device,
    Json,
    Load,
    Normalizers,
    Repeats,
    RunFolder,
    Seeds,
    Set,
    Shard,
    SuiteName,
    Tune,
    app,
    err_console,
    out_console,
    print_json,
)
from normzoo_bench.cli.asked import asked_for
from normzoo_bench.cli.zoo import hold

if TYPE_CHECKING:
    from normzoo_bench.cost.probe import Probed
    from normzoo_bench.cost.work import Work
    from normzoo_bench.planner import Plan


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
    shard: Shard = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/SUITE unless told.")] = None,
    cells: Annotated[bool, typer.Option("--cells", help="List every cell with its id.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Worker processes that the time is estimated for.")] = None,
    from_: Annotated[
        list[Path] | None,
        typer.Option("--from", help="A run folder whose records tell how long things take, besides those beside RUN."),
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Measure a little of every kind of cell that no record tells the time of.")
    ] = False,
    within: Annotated[str, typer.Option(help="The longest that the probe may take, such as 90s or 5m.")] = "60s",
    as_json: Json = False,
) -> None:
    """Show what a run would measure, what it would skip and why, and how long it may take."""
    from normzoo_bench.commands import default_folder
    from normzoo_bench.commands import plan as make
    from normzoo_bench.cost.past import named
    from normzoo_bench.plan_table import print_plan
    from normzoo_bench.planned import look
    from normzoo_bench.running.store import Store

    made = make(suite, out=out, **asked_for(settings, normalizers, seeds, repeats, device, load, cell, tune, shard))
    store = Store(out or default_folder(made.suite.name, cell))
    found = look(made, store, jobs, named(from_ or ()), _prober(within) if probe else None)
    if as_json:
        print_json(found.to_json(cells))
    else:
        print_plan(out_console, found, cells)


def _prober(within: str) -> Callable[[Plan, Sequence[Work]], Probed]:
    """Give what probes, and says on the screen what it does."""
    from normzoo_bench.cost.probe import probe

    limit = seconds("--within", within)

    def announce(kinds: int) -> None:
        what = f"{kinds} kind{'' if kinds == 1 else 's'} of cell"
        err_console.print(f"probing {what}, one after the other, for {within} at most", markup=False)

    def measure(plan: Plan, work: Sequence[Work]) -> Probed:
        found = probe(plan, work, limit, announce)
        for fault in found.faults:
            err_console.print(f"no probe of {fault}", style="yellow", markup=False)
        if found.left:
            err_console.print(f"{found.left} more did not fit into {within}; --within gives it more", markup=False)
        return found

    return measure


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
    shard: Shard = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/SUITE unless told.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Worker processes; one per core, or one per GPU, unless told.")
    ] = None,
    timeout: Annotated[str, typer.Option(help="Per cell, such as 90s, 30m or 2h.")] = "30m",
    retry: Annotated[str, typer.Option(help="Statuses to measure again, such as crashed,timeout.")] = "",
    tries: Annotated[int, typer.Option(help="How often a cell is tried whose worker dies.")] = 2,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="End with the first cell that ends without a result.")
    ] = False,
    together: Annotated[int, typer.Option(help="Seeds of one cell that train side by side on a GPU.")] = 1,
    track: Annotated[
        str, typer.Option(help="Curves of trainings as they go on, by tensorboard, mlflow, wandb or several.")
    ] = "",
    executor: Annotated[
        str, typer.Option(help="local, or ray for a cluster; --jobs are then tasks on it at once.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="The cluster: HOST:PORT, or auto on one of its nodes; else this machine alone.")
    ] = None,
    gpu_share: Annotated[float, typer.Option(help="How much of a GPU a training takes on a cluster, such as 0.5.")] = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Afterwards hold the normalizers to their cards, for the report.")
    ] = False,
) -> None:
    """Run a suite and write its report.

    What was measured already is not measured again.
    """
    from normzoo_bench.commands import run as measure
    from normzoo_bench.commands import status as look
    from normzoo_bench.cost.afterwards import took
    from normzoo_bench.terminal import others_text, print_findings, print_summary, took_text
    from normzoo_reports import report as render
    from normzoo_reports import summary
    from normzoo_suites import read_run

    # a cluster's or a shell's polite kill is the same as Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked = asked_for(settings, normalizers, seeds, repeats, device, load, cell, tune, shard)
    statuses = [status for status in retry.split(",") if status]
    result = measure(
        suite,
        out=out,
        jobs=jobs,
        timeout=seconds("--timeout", timeout),
        retry=statuses,
        together=together,
        tries=tries,
        fail_fast=fail_fast,
        track=track,
        executor=executor,
        address=address,
        gpu_share=gpu_share,
        **asked,
    )
    if result.interrupted:
        err_console.print(f"stopped; {result.measured} new cells are kept in {result.folder}", markup=False)
        err_console.print("the same command goes on from there", markup=False)
        raise typer.Exit(result.exit_code)
    if result.failed_fast:
        err_console.print("stopped by --fail-fast; the same command goes on with what is left", markup=False)
    if result.statuses:
        print_summary(out_console, summary(result.folder))
    ended = ", ".join(f"{count} {status}" for status, count in sorted(result.statuses.items()))
    out_console.print(
        f"\n{result.measured} cells measured, {result.resumed} had been; all ended: {ended}", markup=False
    )
    if others := look(result.folder).others:
        out_console.print(others_text(others), markup=False, soft_wrap=True)
    if result.measured and (compared := took(read_run(result.folder), own=True)) is not None:
        out_console.print(took_text(compared), markup=False, soft_wrap=True)
    kept = True
    if check and result.statuses:
        found = hold([], result.folder, None)  # what --load names is loaded by now
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


def seconds(option: str, text: str) -> float:
    """Read a time such as 90s, 30m or 2h; raises UsageError, which calls it by its option."""
    from normzoo_bench.errors import UsageError

    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smh]?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise UsageError(f"{option} takes a time such as 90s, 30m or 2h, got {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
