"""``reproduce``: one cell of a run measured again in the same way, and held against what the run has stored."""

from __future__ import annotations

import itertools
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import normzoo
from normzoo_bench import data, plugin_files
from normzoo_bench.again import Reproduced, compared
from normzoo_bench.checks import check_data, check_devices, check_normalizers
from normzoo_bench.data import Source
from normzoo_bench.errors import UsageError
from normzoo_bench.files import real
from normzoo_bench.planner import Plan, source_hash
from normzoo_bench.request import Request
from normzoo_bench.running.rounds import Options
from normzoo_bench.running.runner import run_plan
from normzoo_bench.skips import skip_reason
from normzoo_suites import Cell, Record, Run, SuiteError, load_suite, parse_call, read_run
from normzoo_suites.calls import split_commas
from normzoo_suites.record import Status
from normzoo_suites.settings import TrainingSettings


@dataclass(frozen=True)
class Asked:
    """What is to be measured again, and how; as ``commands.reproduce`` takes it."""

    run: Path
    cell: str
    load: tuple[str, ...] = ()
    dataset: str | None = None
    anyway: bool = False
    out: Path | None = None
    timeout: float = 1800.0


def measure_again(asked: Asked) -> Reproduced:
    """Measure one cell of a run again.

    Raises:
        UsageError, SuiteError, PluginError: when there is no such cell or record; when its normalizer or data are not
            here, or are others than they were; when it cannot be measured here.

    """
    for file in asked.load:
        plugin_files.load(file)
    run = read_run(asked.run)
    cell, stored = _stored(run, asked.cell)
    _check_normalizer(cell, stored)
    request = replace(_request(stored.command, run.suite.name), load=asked.load, cell=cell.id)
    cell, sources = _with_data(cell, stored, asked, request)
    _check_out(asked, cell)
    check_devices([cell])
    check_normalizers([cell])
    check_data([cell], sources)
    if reason := skip_reason(cell, sources):
        raise UsageError(f"the cell {cell.id} cannot be measured here: {reason}")
    plan = Plan(run.suite, [cell], sources, request)
    changes = _changes(plan, cell, stored)
    if changes and not asked.anyway:
        raise UsageError(f"{'; '.join(changes)}; --anyway measures it all the same")
    return compared(run, stored, _measured(plan, asked), changes)


def _stored(run: Run, wanted: str) -> tuple[Cell, Record]:
    """Find a cell by the beginning of its id, with its record."""
    cells = {cell.id: cell for cell in (*run.trials, *run.cells)}
    found = [cell for cell in cells.values() if cell.id.startswith(wanted)]
    if len(found) != 1:
        what = "no cell" if not found else f"{len(found)} cells"
        raise UsageError(f"{run.folder} has {what} with an id that starts with {wanted!r}; its cells/ has them all")
    cell = cells.get(found[0].same_as or "", found[0])
    record = run.records.get(cell.id)
    if record is None:
        why = run.unreadable.get(f"{cell.id}.json", "it has not been measured")
        raise UsageError(f"the cell {cell.id} has no record to hold it against: {why}")
    if record.status == "skipped":
        raise UsageError(f"the cell {cell.id} was skipped, and there is nothing to reproduce: {record.reason}")
    return replace(cell, skip=None, twin_of=None, same_as=None), record


def _check_out(asked: Asked, cell: Cell) -> None:
    """Require a folder that is not the run's, and holds nothing but this cell."""
    if asked.out is None or not (asked.out / "run.json").exists():
        return
    if real(asked.out) == real(asked.run):
        raise UsageError(f"--out {asked.out} is the run itself, whose records stay as they are; name another folder")
    if [one.id for one in read_run(asked.out).cells] != [cell.id]:
        raise UsageError(f"--out {asked.out} holds other cells; name another folder")


def _check_normalizer(cell: Cell, stored: Record) -> None:
    """Say whose file is missing: what a record names is never loaded by itself, since that would run it."""
    name = parse_call(cell.settings.normalizer).name
    if name in normzoo.names():
        return
    files = ", ".join(_options(stored.command).get("--load", []))
    how = f"its record was made with --load {files}: give that file with --load" if files else "give its file by --load"
    raise UsageError(f"the normalizer {name} of the cell {cell.id} is not known here; {how}")


def _options(command: str) -> dict[str, list[str]]:
    """Read the options of a recorded command line, each of which takes one value."""
    try:
        words = shlex.split(command)
    except ValueError:  # edited by hand
        return {}
    found: dict[str, list[str]] = {}
    for option, value in itertools.pairwise(words):
        if option.startswith("--"):
            found.setdefault(option, []).append(value)
    return found


def _request(command: str, suite: str) -> Request:
    """Give what a recorded command asked for, as far as the command of the new record is to say it again."""
    found, words = _options(command), command.split()
    settings = dict(pair.split("=", 1) for pair in found.get("--set", []) if "=" in pair)
    normalizers = found.get("--normalizers")
    return Request(
        suite=words[2] if words[:2] == ["normzoo", "run"] and len(words) > 2 else suite,
        settings=settings,
        normalizers=tuple(split_commas(normalizers[0])) if normalizers else None,
        device=found["--device"][0] if "--device" in found else None,
    )


def _with_data(cell: Cell, stored: Record, asked: Asked, request: Request) -> tuple[Cell, dict[str, Source]]:
    """Give the cell with its data's name as it is here, and where the data is."""
    if not isinstance(cell.settings, TrainingSettings):
        return cell, {}
    wanted = cell.settings.dataset
    found = list(_places(wanted, asked, request))
    source = next((one for one in found if one.name == wanted), found[0] if found else None)
    if source is None:
        raise UsageError(f"the data set {wanted} of the cell {cell.id} is a folder: say where it lies with --data PATH")
    changed = type(cell.settings).model_validate(cell.settings.model_dump() | {"dataset": source.name})
    return replace(cell, settings=changed), {source.name: source}


def _places(wanted: str, asked: Asked, request: Request) -> Iterator[Source]:
    """Give where the data may be: where the user says, else by its name, or as the recorded command or suite has it."""
    if asked.dataset is not None:
        yield data.find(asked.dataset)
        return
    name = parse_call(wanted).name
    if "@" not in name:
        yield data.find(wanted)
        return
    for text in _told(request):
        try:
            source = data.find(text)
        except UsageError:
            continue
        if parse_call(source.name).name.partition("@")[0] == name.partition("@")[0]:
            yield source


def _told(request: Request) -> Iterator[str]:
    yield from split_commas(request.settings.get("dataset", ""))
    try:
        suite = load_suite(request.suite)
    except (SuiteError, OSError):
        return
    for grid in suite.grids:
        yield from (str(value) for value in grid.values().get("dataset", []))


def _changes(plan: Plan, cell: Cell, stored: Record) -> list[str]:
    """Say what of the cell itself is not what it was."""
    changes = []
    name, now = parse_call(cell.settings.normalizer).name, source_hash(cell)
    if now != stored.source_hash:
        changes.append(f"the source of {name} has changed since: it was {stored.source_hash}, and is {now}")
    dataset = plan.dataset(cell)
    fingerprint = dataset.fingerprint if dataset else ""
    if fingerprint != stored.data_fingerprint or cell.settings.model_dump().get("dataset") != stored.settings.get(
        "dataset"
    ):
        changes.append(
            f"the data is not what it was: {stored.settings['dataset']} with the fingerprint "
            f"{stored.data_fingerprint}, and now {cell.settings.model_dump()['dataset']} with {fingerprint}"
        )
    return changes


def _measured(plan: Plan, asked: Asked) -> Record:
    """Measure the plan's cell in a run folder of its own; what stands there already is measured again."""
    options = Options(jobs=1, timeout=asked.timeout, retry=frozenset(get_args(Status)))
    with tempfile.TemporaryDirectory(prefix="normzoo") as place:
        folder = asked.out or Path(place) / "run"
        result = run_plan(plan, folder, options)
        if result.interrupted:
            raise KeyboardInterrupt
        return read_run(folder).records[plan.cells[0].id]
