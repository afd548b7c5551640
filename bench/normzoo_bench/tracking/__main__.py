"""The process of one tracker: ``python -m normzoo_bench.tracking FOLDER PARENT``, started by ``session``."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

from normzoo_bench.tracking.follow import Follower
from normzoo_bench.tracking.registry import TRACKERS
from normzoo_bench.tracking.session import ABOUT, END, FAILED, READY, describe

EVERY_S = 0.3
"""Between two looks at what was written."""

ORPHANED_S = 10.0
"""How long the library may take to end what is open, once the runner is gone."""


def main(folder: Path, parent: int) -> None:
    """Show what is written into the folder until the runner says that this is the end, or is gone."""
    threading.Thread(target=_end_with, args=(parent, folder), daemon=True).start()
    os.nice(10)  # whatever is measured meanwhile comes first
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    try:
        tracker = TRACKERS[about["tracker"]].open(Path(about["folder"]), about["suite"])
    except Exception as error:  # a library's, of any kind
        _tell(folder, error)
        sys.exit(1)
    (folder / READY).touch()
    follower = Follower(folder, tracker, about["varied"], lambda error: _tell(folder, error))
    last = False
    while not last:
        time.sleep(EVERY_S)
        last = (folder / END).exists() or os.getppid() != parent  # asked before the last look
        follower.read()
    follower.close()
    if os.getppid() != parent:
        _leave(folder)


def _tell(folder: Path, error: Exception) -> None:
    """Leave word of the first failure."""
    if not (folder / FAILED).exists():
        partial = folder / f"{FAILED}.part"
        partial.write_text(describe(error), encoding="utf-8")
        partial.replace(folder / FAILED)


def _end_with(parent: int, folder: Path) -> None:
    """End this process when the runner is gone and the library hangs."""
    while os.getppid() == parent:
        time.sleep(0.5)
    time.sleep(ORPHANED_S)
    _leave(folder)
    os._exit(1)


def _leave(folder: Path) -> None:
    """Remove the folder, and the one above when this was the last of several trackers: the runner is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
