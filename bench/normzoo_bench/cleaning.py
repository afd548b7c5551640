"""What of a run folder, or of the cache, no longer counts. Nothing measured goes unless it is named."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from normzoo_bench.caches import cache_folder
from normzoo_bench.errors import UsageError
from normzoo_bench.files import PARTIAL, real
from normzoo_bench.running.leases import Leases
from normzoo_suites import Run, SuiteError, read_record, read_run
from normzoo_suites.errors import NewerSchemaError

SETTLED_S = 600.0
"""A half-written file that was younger may be another process's, also on another machine, that is writing it now."""

_RECORD = re.compile(r"[0-9a-f]{16}\.json")
_CACHED = re.compile(r"[0-9a-f]{16}(\.pt|\.fingerprint|\.\d+\.part)")


@dataclass(frozen=True)
class Leftover:
    """Files of one kind that no longer count.

    Attributes:
        what: what they are, in words.
        files: how many.
        bytes: how large together.
        removed: whether they were removed, or, in a dry run, would be.
        note: what removes them, or why they stay; empty where they go.

    """

    what: str
    files: int
    bytes: int
    removed: bool
    note: str = ""


@dataclass(frozen=True)
class Cleaned:
    """What was found in one folder, in the order of: half-written, older, outdated, unreadable."""

    folder: Path
    leftovers: tuple[Leftover, ...]


@dataclass(frozen=True)
class _Kind:
    what: str
    files: Sequence[Path]
    remove: bool
    note: str = ""


def clean(runs: Iterable[Path], older: bool, outdated: bool, cache: bool, dry_run: bool) -> list[Cleaned]:
    """Remove what ``normzoo_bench.clean`` says; every folder is looked at before anything is removed.

    Raises:
        UsageError, SuiteError: for a folder that is no run folder, that a run is at work in, or that cannot be changed.

    """
    folders = list({real(run): run for run in runs}.values())
    if not folders and not cache:
        raise UsageError("there is nothing to clean; name run folders, or --cache for decoded data")
    with ExitStack() as stack:
        found = []
        for folder in folders:
            if not (folder / "run.json").is_file():
                read_run(folder)  # refuses it; no file must be made in what is no run folder
            _hold(stack, folder, dry_run)
            found.append((folder, _kinds(read_run(folder), older, outdated)))
        if cache:
            found.append((cache_folder(), list(_cached(cache_folder()))))
        return [Cleaned(folder, tuple(_handled(folder, kinds, dry_run))) for folder, kinds in found]


def _hold(stack: ExitStack, folder: Path, dry_run: bool) -> None:
    """Keep runs out of a folder meanwhile; a dry run, which changes nothing, makes no file for it."""
    leases = Leases(folder, "")
    if dry_run and not Path(leases.lock.lock_file).exists():
        return
    try:
        leases.settle()
        stack.enter_context(leases.lock)
        if not leases.others():
            return
    except Timeout:
        pass
    except OSError as error:
        if dry_run:
            return
        raise UsageError(f"cannot write to {folder}: {error.strerror or error}") from None
    raise UsageError(f"a run is at work in {folder}; wait for it, or stop it, and clean then")


def _kinds(run: Run, older: bool, outdated: bool) -> list[_Kind]:
    partial = [file for name in ("", "cells", "contracts") for file in _files(run.folder / name, PARTIAL.fullmatch)]
    settled = [file for file in partial if _is_settled(file)]
    unplanned, newer = _unplanned(run)
    known = bool(run.waiting)
    waits = f"{run.waiting} cells wait for their trials, and which records are theirs is not known yet"
    unreadable = [run.folder / "cells" / name for name in run.unreadable]
    return [
        _Kind("half-written files", settled, True),
        _Kind(
            "half-written files", [file for file in partial if file not in settled], False, "written just now, perhaps"
        ),
        _Kind("older attempts", _files(run.folder / "cells" / "older"), older, "--older removes them"),
        _Kind(
            "records of cells that are no longer planned",
            unplanned,
            outdated and not known,
            waits if known else "they count again once these cells are asked for; --outdated removes them",
        ),
        _Kind("records of a newer normzoo", newer, False, "they stay"),
        _Kind(
            "unreadable records", unreadable, False, "they stay; the next run measures these cells anew, and keeps them"
        ),
    ]


def _unplanned(run: Run) -> tuple[list[Path], list[Path]]:
    """Give the records of cells that the run does not plan, and apart from them those that are a newer version's."""
    planned = {f"{cell.id}.json" for cell in (*run.cells, *run.trials)}
    unplanned: list[Path] = []
    newer: list[Path] = []
    for file in _files(run.folder / "cells", lambda name: _RECORD.fullmatch(name) and name not in planned):
        try:
            read_record(file.read_bytes(), file.name)
        except NewerSchemaError:
            newer.append(file)
            continue
        except (OSError, SuiteError):  # no measurement can be read from it
            pass
        unplanned.append(file)
    return unplanned, newer


def _cached(folder: Path) -> Iterator[_Kind]:
    found = _files(folder, _CACHED.fullmatch)
    young = [file for file in found if file.suffix == ".part" and not _is_settled(file)]
    yield _Kind("files of decoded data", [file for file in found if file not in young], True)
    yield _Kind("files of decoded data", young, False, "written just now, perhaps")


def _files(folder: Path, wanted: Callable[[str], object] = lambda _: True) -> list[Path]:
    """List the files right in a folder whose names are wanted; what is only linked there is none of them."""
    entries = folder.iterdir() if folder.is_dir() and not folder.is_symlink() else ()
    return sorted(file for file in entries if wanted(file.name) and file.is_file() and not file.is_symlink())


def _is_settled(file: Path) -> bool:
    try:
        return file.stat().st_mtime < time.time() - SETTLED_S
    except FileNotFoundError:  # it has got its name meanwhile
        return False


def _handled(folder: Path, kinds: Iterable[_Kind], dry_run: bool) -> Iterator[Leftover]:
    for kind in kinds:
        if not kind.files:
            continue
        sizes = [_size(file) for file in kind.files]
        if kind.remove and not dry_run:
            _remove(folder, kind.files)
        yield Leftover(kind.what, len(sizes), sum(sizes), kind.remove, "" if kind.remove else kind.note)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _remove(folder: Path, files: Iterable[Path]) -> None:
    try:
        for file in files:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot remove files from {folder}: {error.strerror or error}") from None
