"""Files of the merged folder: whole or not at all, under the lock that a run takes too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import Timeout

from normzoo_bench.errors import UsageError
from normzoo_bench.running.leases import Leases


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder, made where it is missing, against runs and other merges.

    Raises:
        UsageError: when a run is at work in it, another holds it, or it cannot be written, at the start or later.

    """
    leases = Leases(folder, "")
    try:
        (folder / "cells").mkdir(parents=True, exist_ok=True)
        leases.settle()
        with leases.lock:
            if leases.others():
                raise UsageError(f"a run is at work in {folder}; wait for it, or choose another --to")
            yield
    except Timeout:
        raise UsageError(
            f"somebody has locked {folder}, as clean and merge do; wait for that, or choose another --to"
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror or error}; choose another folder with --to, or make room: the "
            "same command goes on from there"
        ) from None


def differs(file: Path, content: bytes) -> bool:
    """Tell whether a file is missing, or holds something else."""
    return not (file.is_file() and file.read_bytes() == content)
