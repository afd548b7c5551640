"""Whether a run's folders have room, and can do what a run does with them: write, rename, lock."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from normzoo_bench.diagnosis.finding import GB, MB, Finding, size

LITTLE, TOO_LITTLE = GB, 100 * MB
FEW_FILES = 10_000
"""A run writes a file per cell."""


def run_folder(folder: Path) -> Iterator[Finding]:
    """Try where a run would write its records; the folder itself is not made."""
    elsewhere = "choose another folder with --out"
    if folder.is_symlink() and not os.path.exists(folder):  # noqa: PTH110  # a Path raises where links lead in a circle
        yield Finding("run folder", "fault", f"{folder} is a link that leads nowhere", elsewhere)
        return
    where = existing(folder)
    yield from space("run folder", where, elsewhere)
    try:
        yield _tried(where, folder)
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        yield Finding("run folder", "fault", f"cannot write, rename and lock files in {where}: {reason}", elsewhere)


def other_folder(check: str, folder: Path, elsewhere: str) -> Iterator[Finding]:
    """Try a folder that is written to beside the run's; ``elsewhere`` says how to choose another."""
    where = existing(folder)
    yield from space(check, where, elsewhere)
    try:
        with tempfile.TemporaryFile(dir=where) as stream:
            stream.write(b"x")
    except OSError as error:
        yield Finding(check, "fault", f"cannot write to {where}: {error.strerror or error}", elsewhere)


def existing(folder: Path) -> Path:
    """Give the folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next(
        one for one in (folder, *folder.parents) if os.access(one, os.F_OK)
    )  # a Path raises where it may not look


def space(check: str, where: Path, elsewhere: str) -> Iterator[Finding]:
    """Say how much room there is, in bytes and in files."""
    free = shutil.disk_usage(where).free
    found = f"{size(free)} are free for {where}"
    if free < TOO_LITTLE:
        yield Finding(check, "fault", found, f"make room, or {elsewhere}")
    elif free < LITTLE:
        yield Finding(check, "warning", found, f"make room, or {elsewhere}")
    else:
        yield Finding(check, "good", found)
    files = os.statvfs(where) if hasattr(os, "statvfs") else None
    if files and files.f_files and files.f_favail < FEW_FILES:  # some file systems count none
        found = f"there is room for {files.f_favail} files more in {where}, and a run writes one per cell"
        yield Finding(check, "warning", found, f"remove files, or {elsewhere}")


def _tried(where: Path, folder: Path) -> Finding:
    """Do what a run does, in a folder that is gone afterwards."""
    from filelock import FileLock, Timeout  # here, so that its lack is a finding

    with tempfile.TemporaryDirectory(prefix=".normzoo-doctor-", dir=where) as name:
        old, new = Path(name, "old"), Path(name, "new")
        for file in (old, new):
            with file.open("wb") as stream:
                stream.write(b"x")
                stream.flush()
                os.fsync(stream.fileno())
        new.replace(old)
        lock, second = (FileLock(Path(name, "lock"), timeout=0, is_singleton=False) for _ in range(2))
        with lock:
            try:
                second.acquire()
            except Timeout:
                return Finding("run folder", "good", f"{folder} can be written, and files there can be locked")
            second.release()
    found = f"locks do not hold in {where}: two runs could be at work in one folder"
    return Finding("run folder", "fault", found, "choose a folder on a local disk with --out")
