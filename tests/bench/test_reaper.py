"""The process that clears up after a run: it is left whoever else is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = """
import subprocess, sys, time
from normzoo_bench.running import reaper
with reaper.workplace() as place:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(602)"], start_new_session=True)
    reaper.register(place / "worker", sleeper.pid)
    print(sleeper.pid, place, flush=True)
    {then}
"""
PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")


def begun(then: str) -> tuple[subprocess.Popen[str], int, Path]:
    """Start a run; give it, the process that it has registered, and its workplace."""
    process = subprocess.Popen([sys.executable, "-c", RUN.format(then=then)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid, place = process.stdout.readline().split()
    return process, int(pid), Path(place)


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def is_up(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@PROC
def test_what_a_run_has_registered_ends_with_its_block() -> None:
    process, sleeper, place = begun("pass")
    with process:
        assert process.wait(30) == 0
    assert not is_up(sleeper)
    assert not place.exists()


@PROC
def test_what_a_run_has_registered_ends_also_where_its_children_are_killed_before_it() -> None:
    """As Ray does with a process that it ends: its children by number, and no others."""
    process, sleeper, place = begun("time.sleep(600)")
    with process:
        for child in children(process.pid):
            if child != sleeper:
                os.kill(child, signal.SIGKILL)
        process.kill()
    deadline = time.monotonic() + 20
    while (is_up(sleeper) or place.exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_up(sleeper)
    assert not place.exists()
