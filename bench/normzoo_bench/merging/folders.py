"""Which folders are joined, and where: what a command line names, held to what is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from normzoo_bench.errors import UsageError
from normzoo_bench.files import real
from normzoo_bench.merging.files import locked
from normzoo_bench.merging.join import Join
from normzoo_bench.merging.merged import Merged


def merge_folders(runs: Sequence[Path], to: Path, prefer: Path | None, dry_run: bool) -> Merged:
    """Join run folders; see ``normzoo_bench.merge``."""
    folders, there = _folders(runs, to)
    if prefer is not None and real(prefer) not in [real(folder) for folder in folders]:
        raise UsageError(f"--prefer {prefer} is none of the folders; name one of {', '.join(map(str, folders))}")
    if dry_run:
        return Join(folders, to, prefer).write(dry_run=True)
    if there:
        with locked(to):
            return Join(folders, to, prefer).write()
    join = Join(folders, to, prefer)  # what cannot be joined leaves no new folder behind
    with locked(to):
        if (to / "run.json").exists():
            raise UsageError(f"another merge has just made {to}; the same command again joins these folders with it")
        return join.write()


def _folders(runs: Sequence[Path], to: Path) -> tuple[list[Path], bool]:
    """Give the folders, each once, the destination first where it holds a run; and whether it does."""
    if not runs:
        raise UsageError("name the run folders to merge: normzoo merge RUN RUN --to DEST")
    there = (to / "run.json").exists()
    if not there and _holds_something(to):
        raise UsageError(f"{to} is not empty and no run folder; choose another --to")
    every = {real(folder): folder for folder in reversed([*([to] if there else []), *runs])}
    return list(every.values())[::-1], there


def _holds_something(folder: Path) -> bool:
    """Tell whether there is anything but what a merge leaves that was stopped at its start."""
    if not folder.is_dir():
        return folder.exists()
    return any(one.name not in (".lock", "cells", "runners") for one in folder.iterdir()) or any(folder.glob("cells/*"))
