"""How much memory is left here, so that a cell which takes all of it is ended before the kernel ends just anything."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

SPARE = 0.03
"""The share of all memory that is to stay free."""

LARGE = 0.2
"""The share of all memory from which on a process is to blame when none is left."""

_CGROUPS = Path("/sys/fs/cgroup")


def culprit(pids: Sequence[int]) -> int | None:
    """Name the process that has taken the memory where hardly any is left; None where enough is, or none of these has.

    The limit is the machine's or the container's.
    """
    for left, total in (_machine(), _container()):
        if left < SPARE * total:
            most, pid = max((held(pid), pid) for pid in pids)
            if most > LARGE * total:
                return pid
    return None


def held(pid: int) -> int:
    """Give the bytes of memory that a process holds; 0 where that cannot be told."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _machine() -> tuple[int, int]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return kib["MemAvailable"] << 10, kib["MemTotal"] << 10
    except (OSError, ValueError, KeyError, IndexError):
        return 0, 0


def _container() -> tuple[int, int]:
    """Give what is left below the limit of this process's control group (version 2), and the limit."""
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        own = next(line.removeprefix("0::/") for line in groups if line.startswith("0::/"))
        folder = _CGROUPS / own if (_CGROUPS / own / "memory.max").exists() else _CGROUPS
        limit = int((folder / "memory.max").read_text(encoding="ascii"))  # "max" where there is none
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        used = int((folder / "memory.current").read_text(encoding="ascii")) - int(stat["inactive_file"])
        return limit - used, limit
    except (OSError, ValueError, KeyError, StopIteration):
        return 0, 0
