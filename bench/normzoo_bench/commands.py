"""The commands of this room as functions, with the command line's names and arguments."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, get_args

from normzoo_bench import shards
from normzoo_bench.errors import UsageError
from normzoo_bench.request import Request
from normzoo_suites import Record, Run, collecting, read_run
from normzoo_suites.calls import split_commas
from normzoo_suites.errors import suggest
from normzoo_suites.record import Status
from normzoo_suites.tune import Tune

if TYPE_CHECKING:  # most of these import torch, which `status` must not
    from normzoo_bench.again import Reproduced
    from normzoo_bench.cleaning import Cleaned
    from normzoo_bench.contracts import Checked
    from normzoo_bench.cost.afterwards import Took
    from normzoo_bench.diagnosis import Finding
    from normzoo_bench.merging.merged import Merged
    from normzoo_bench.planner import Plan
    from normzoo_bench.running.rounds import Options
    from normzoo_bench.running.runner import RunResult

EXECUTORS = ("local", "ray")


class Asked(TypedDict, total=False):
    """What can be changed of a suite, as keywords of ``plan`` and ``run``; see ``Request``.

    For example ``settings={"epochs": "3", "ranks": "1,5"}, normalizers=["batch_norm", "group_norm"], seeds=4``, and
    ``tune={"learning_rate": "0.03,0.1,0.3"}`` or ``tune="off"``; ``shard="2/16"`` for the second of sixteen machines.
    ``elsewhere=True`` plans for devices that other machines have; a run on a cluster does so.
    """

    settings: Mapping[str, str] | None
    normalizers: Sequence[str] | str | None
    seeds: int | None
    repeats: int | None
    device: str | None
    load: Sequence[str | Path]
    cell: str | None
    tune: Tune | None
    shard: tuple[int, int] | str | None
    elsewhere: bool


def _request(suite: str | Path, asked: Asked) -> Request:
    normalizers = asked.get("normalizers")
    if isinstance(normalizers, str):
        normalizers = split_commas(normalizers)
    return Request(
        suite=str(suite),
        settings=dict(asked.get("settings") or {}),
        normalizers=None if normalizers is None else tuple(normalizers),
        seeds=asked.get("seeds"),
        repeats=asked.get("repeats"),
        device=asked.get("device"),
        load=tuple(map(str, asked.get("load") or ())),
        cell=asked.get("cell"),
        tune=asked.get("tune"),
        shard=shards.parse(asked.get("shard")),
        elsewhere=asked.get("elsewhere", False),
    )


def plan(suite: str | Path, *, out: str | Path | None = None, **asked: Unpack[Asked]) -> Plan:
    """Plan a suite.

    Args:
        suite: a built-in suite's name or the path of a TOML file.
        out: the run folder; where one cell of a tuned suite is asked for, its trials say what was chosen for the cell.
        **asked: the keywords of ``Asked``.

    Raises:
        UsageError, SuiteError: for whatever of it cannot be done.

    """
    from normzoo_bench.planner import plan as make
    from normzoo_bench.running.store import Store

    def recorded(made: Plan) -> Mapping[str, Record]:
        folder = Path(out) if out is not None else default_folder(made.suite.name, made.request.cell)
        return Store(folder).finished(made, frozenset(), made.trials)[0]

    return make(_request(suite, asked), recorded)


def run(
    suite: str | Path,
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    timeout: float = 1800.0,
    retry: Iterable[str] = (),
    together: int = 1,
    tries: int = 2,
    fail_fast: bool = False,
    track: Iterable[str] | str = (),
    executor: str = "local",
    address: str | None = None,
    gpu_share: float = 1.0,
    **asked: Unpack[Asked],
) -> RunResult:
    """Run a suite, or what of it has no record yet, in worker processes.

    Args:
        suite: a built-in suite's name or the path of a TOML file.
        out: the run folder; ``runs/SUITE`` unless told.
        jobs: worker processes; one per core, or one on a GPU, unless told.
        timeout: seconds after which a training is killed.
        retry: statuses whose cells are measured again.
        together: how many seeds of one cell train side by side on a GPU; each gives what it gives alone.
        tries: how often a cell is tried whose worker dies.
        fail_fast: end the run with the first cell that ends without a result.
        track: who shows the curves of trainings as they go on: ``tensorboard``, ``mlflow``, ``wandb``, or several.
        executor: ``local`` for workers of this machine, ``ray`` for those of a Ray cluster; ``jobs`` are then how many
            tasks are on it at once, as many as it has room for unless told.
        address: the cluster's, or ``auto`` for the one that this machine is a node of; None for this machine alone.
        gpu_share: how much of a GPU a training takes on a cluster, such as 0.5 for two on each.
        **asked: the keywords of ``Asked``.

    Raises:
        UsageError, SuiteError: for whatever of it cannot be done; nothing is measured then.

    """
    from normzoo_bench import tracking
    from normzoo_bench.running.rounds import Options
    from normzoo_bench.running.runner import run_plan

    trackers = tracking.check(split_commas(track) if isinstance(track, str) else track)
    if executor == "ray":
        address = address or os.environ.get("RAY_ADDRESS")
    options = Options(
        jobs, timeout, frozenset(retry), together, tries, fail_fast, trackers, executor, address or None, gpu_share
    )
    _check(options)
    made = plan(suite, out=out, **(asked | {"elsewhere": options.address is not None}))
    folder = Path(out) if out is not None else default_folder(made.suite.name, made.request.cell)
    return run_plan(made, folder, options)


def _check(options: Options) -> None:
    if options.jobs is not None and options.jobs < 1:
        raise UsageError(f"jobs must be at least 1, got {options.jobs}")
    for name, value in (("together", options.together), ("tries", options.tries)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    if not options.timeout > 0:
        raise UsageError(f"timeout must be above 0, got {options.timeout}")
    for status_ in options.retry:
        if status_ not in (known := get_args(Status)):
            raise UsageError(f"unknown status {status_!r} to retry; {suggest(status_, known)}")
    if options.executor not in EXECUTORS:
        raise UsageError(f"unknown executor {options.executor!r}; {suggest(options.executor, EXECUTORS)}")
    if not 0 < options.gpu_share <= 1:
        raise UsageError(f"gpu_share must be above 0 and at most 1, got {options.gpu_share}")
    if options.executor == "local" and (options.address is not None or options.gpu_share != 1):
        given = "gpu_share" if options.address is None else "address"
        raise UsageError(f"{given} is about a cluster; give --executor ray, too")


def reproduce(
    run: str | Path,
    cell: str,
    *,
    load: Sequence[str | Path] = (),
    data: str | Path | None = None,
    anyway: bool = False,
    out: str | Path | None = None,
    timeout: float = 1800.0,
) -> Reproduced:
    """Measure one cell of a run again in the same way, and hold the new numbers against those that the run has stored.

    The run stays as it is.

    Args:
        run: the run folder.
        cell: the beginning of the cell's id.
        load: Python files with normalizers; the one that a record names is not loaded by itself.
        data: where the data set lies, where it is a folder that the recorded command does not lead to from here.
        anyway: measure although the normalizer's source or the data have changed since.
        out: a run folder of its own that keeps the new record.
        timeout: seconds after which it is killed.

    Raises:
        UsageError, SuiteError, PluginError: when it cannot be measured again; nothing is measured then.

    """
    from normzoo_bench.reproducing import Asked, measure_again

    if not timeout > 0:
        raise UsageError(f"timeout must be above 0, got {timeout}")
    where = None if data is None else str(data)
    kept = None if out is None else Path(out)
    return measure_again(Asked(Path(run), cell, tuple(map(str, load)), where, anyway, kept, timeout))


def default_folder(suite: str, cell: str | None = None) -> Path:
    """Give the run folder of a suite, and of one cell measured by itself."""
    return Path("runs") / (f"{suite}-{cell}" if cell else suite)


def check(
    *targets: str | Path,
    to: str | Path | None = None,
    load: Iterable[str | Path] = (),
    announce: Callable[[Sequence[str]], None] = lambda names: None,
) -> Checked:
    """Hold normalizers to what their cards claim; it takes up to 20 s each.

    Args:
        *targets: names, also with options such as ``group_norm(groups=8)``, and files of normalizers; none for all
            normalizers of the run ``to``, with the options that they have there.
        to: a run folder, whose report then says what was found.
        load: Python files with normalizers.
        announce: is told the names that will be checked, before it begins.

    Raises:
        UsageError, SuiteError, PluginError: for a normalizer that is not known, or that the run did not measure.

    """
    from normzoo_bench import plugin_files
    from normzoo_bench.contracts import check as hold

    for file in load:
        plugin_files.load(file)
    return hold([str(target) for target in targets], None if to is None else Path(to), announce)


@dataclass(frozen=True)
class RunStatus:
    """What a run folder holds.

    Attributes:
        suite: the suite's name.
        cells: how many cells it has.
        statuses: how many ended how; ``same`` for those that are the same computation as another.
        to_do: how many have no readable record.
        trials: how many trials tune the cells, and how many of them have a record.
        waiting: how many cells wait for what their trials choose; they count among ``to_do`` and ``cells``.
        faults: for cells that ended without a result, how often each reason.
        unreadable: by file name, what is wrong with a record.
        seconds: the measured cells' time, added up.
        command: the command line that goes on with it, in the way that it was measured last.
        took: what its cells were estimated to take when they were begun, and took; None where nothing was estimated.
        shard: which part of the plan is measured here, and of how many; ``to_do`` counts that part alone then.
        others: how many records there are of cells that its latest command does not ask for.

    """

    suite: str
    cells: int
    statuses: Counter[str]
    to_do: int
    faults: Counter[str]
    unreadable: dict[str, str]
    seconds: float
    command: str
    trials: tuple[int, int] = (0, 0)
    waiting: int = 0
    took: Took | None = None
    shard: tuple[int, int] | None = None
    others: int = 0


@collecting.pause()
def status(run: str | Path) -> RunStatus:
    """Say how far a run is.

    Raises:
        SuiteError: when it is no run folder.

    """
    from normzoo_bench.cost.afterwards import took

    found = read_run(run, brief=True)
    statuses: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    seconds = 0.0
    trials = [trial for trial in found.trials if not trial.same_as]
    for cell in (*trials, *found.cells):
        if not cell.same_as and (record := found.records.get(cell.id)):
            seconds += record.seconds
            if record.reason:
                faults[f"{record.status}: {record.reason}"] += 1
    for cell in found.cells:
        if cell.same_as:
            statuses["same"] += 1
        elif cell.id in found.records:
            statuses[found.records[cell.id].status] += 1
    cells = len(found.cells) + found.waiting
    return RunStatus(
        found.suite.name,
        cells,
        statuses,
        cells - statuses.total() - _of_other_shards(found),
        faults,
        found.unreadable,
        seconds,
        _go_on(found),
        (len(trials), sum(trial.id in found.records for trial in trials)),
        found.waiting,
        took(found),
        found.shard,
        _others(found),
    )


def _of_other_shards(found: Run) -> int:
    """Count the cells without a record that other machines are to measure."""
    if found.shard is None:
        return 0
    own = {cell.id for cell in shards.part(found.suite, found.cells, found.shard)}
    return sum(cell.id not in own and cell.id not in found.records and not cell.same_as for cell in found.cells)


def _go_on(found: Run) -> str:
    """Give the command that goes on with a run in the way that it was measured last."""
    shard = "--shard {}/{}".format(*found.shard) if found.shard else ""
    return " ".join(part for part in (found.command, shard, found.how) if part)


def _others(found: Run) -> int:
    """Count the records of cells that the latest command did not ask for."""
    known = {f"{cell.id}.json" for cell in (*found.trials, *found.cells)}
    with suppress(OSError), os.scandir(found.folder / "cells") as files:
        return sum(file.name.endswith(".json") and file.name not in known for file in files)
    return 0


def merge(*runs: str | Path, to: str | Path, prefer: str | Path | None = None, dry_run: bool = False) -> Merged:
    """Join run folders of one suite into one: shards, copies, or runs of other normalizers, seeds and values.

    Args:
        *runs: run folders, which are only read.
        to: the folder that is written: a new one, or one that holds a run of the suite, which is joined, too.
        prefer: the folder whose records stand where two folders contradict each other; those of the others are kept
            beside. Without it a contradiction is refused.
        dry_run: tell what would be written, and write nothing.

    Raises:
        UsageError: when the folders' numbers do not belong together, or contradict each other; nothing is written
            then. When the folder cannot be written; what was written before is whole then.
        SuiteError: when one is no run folder.

    """
    from normzoo_bench.merging.folders import merge_folders

    return merge_folders([Path(run) for run in runs], Path(to), None if prefer is None else Path(prefer), dry_run)


def env() -> dict[str, Any]:
    """Describe what would be measured on: versions and hardware."""
    from normzoo_bench.environment import environment

    return environment()


def doctor(suite: str | Path | None = None, *, out: str | Path | None = None, **asked: Unpack[Asked]) -> list[Finding]:
    """Look for what would stop a run on this machine; works where torch cannot be imported, and leaves no file behind.

    Args:
        suite: a built-in suite's name or the path of a TOML file, whose data and plan are looked at, too; None for this
            machine alone.
        out: the run folder; ``runs/SUITE`` unless told.
        **asked: the keywords of ``Asked``; without a suite, ``device`` and ``load`` alone.

    Raises:
        UsageError, SuiteError: for a mistake in what was asked. What is wrong with the machine is a finding.

    """
    from normzoo_bench.diagnosis import diagnose

    return diagnose(_request(suite or "", asked), None if out is None else Path(out))


def clean(
    *runs: str | Path, older: bool = False, outdated: bool = False, cache: bool = False, dry_run: bool = False
) -> list[Cleaned]:
    """Remove from run folders what no longer counts; without options, half-written files alone.

    Args:
        *runs: run folders.
        older: also the attempts in ``cells/older/``, of cells that were measured again.
        outdated: also the records of cells that run.json does not plan any more.
        cache: also all decoded data, of every run of this user.
        dry_run: remove nothing, and say what would be removed.

    Raises:
        UsageError, SuiteError: for a folder that is no run folder or that a run is at work in; nothing is removed then.

    """
    from normzoo_bench.cleaning import clean as remove

    return remove([Path(run) for run in runs], older, outdated, cache, dry_run)
