"""Ends what a run leaves behind, also when the run itself is killed.

A run starts this file as a script of its own, ``reaper.py FOLDER``, and holds the other end of its standard input. That
end closes when the run ends, however it does; whatever processes are registered in the folder by then are killed with
all that they have started, and the folder goes. A thread in every worker looks for its parent, too, but no thread gets
a turn where an extension never gives the interpreter back.

What has left its group (``setsid``) is found by its environment, where the kernel shows that: every worker's processes
inherit the name of its folder.

It is nobody's child: who ends a process may end its children first (Ray does), and this one has to be left.

It imports the standard library only: it has to be up before the first worker is.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

GROUP = "NORMZOO_GROUP"
"""The environment variable that names the folder where a worker's own processes are registered, to end with it."""

ROUNDS = 5


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Give a folder in which processes can be registered; they and the folder do not outlive this one's run."""
    folder = Path(tempfile.mkdtemp(prefix="normzoo-"))
    reaper = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,  # nothing is said there; it closes when all is cleared up
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    reaper.wait()  # until it has left its parent
    try:
        yield folder
    finally:
        reaper.communicate()


def register(folder: Path, pid: int) -> None:
    """Note a process that is the first of its group: the group ends with ``end(folder)``, or with the run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{pid}.pid").write_text(_began(pid), encoding="ascii")


def end(folder: Path) -> None:
    """Kill the groups that are registered in a folder and below, and forget them; and whoever has left them."""
    for file in folder.rglob("*.pid"):
        with contextlib.suppress(FileNotFoundError):  # another does the same
            _kill(int(file.stem), file.read_text(encoding="ascii"))
            file.unlink()
    for _ in range(ROUNDS):  # one that is just being started may have been missed
        left = list(_inheriting(folder))
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return


def _inheriting(folder: Path) -> Iterator[int]:
    """Give the processes whose environment names the folder, or one below."""
    named = re.compile(rb"(^|\0)" + re.escape(f"{GROUP}={folder}".encode()) + rb"(/|\0|$)")
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # another user's, or just gone
            if named.search((place / "environ").read_bytes()):
                yield int(place.name)


def _kill(pid: int, began: str) -> None:
    now = _began(pid)
    if began and now and now != began:
        return  # the number is another process's by now, so nobody of the group is left
    for kill in (os.killpg, os.kill) if now or not began else (os.killpg,):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _began(pid: int) -> str:
    """Give when a process began, in the kernel's ticks, by which it is told from a later one of its number; or ""."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]  # the 22nd field; the second, in brackets, may hold anything


def main(folder: Path) -> None:
    """Wait for the run's end, and clear up."""
    if os.fork():
        os._exit(0)
    sys.stdin.buffer.read()
    end(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
