"""Whether there are memory, cores, shared memory and file handles enough for the workers of a run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from normzoo_bench.diagnosis.children import ask
from normzoo_bench.diagnosis.finding import MB, Finding, Level, size
from normzoo_bench.diagnosis.limits import Limits
from normzoo_bench.environment import cores

WORKER = 600 * MB
"""What a worker on a CPU takes: 530 MB of its own with torch and ResNet-20 on the digits (Linux, torch 2.15)."""

SHARED = 256 * MB
"""Of /dev/shm: containers often have 64 MB, which a few batches of images between processes fill."""

FILES, TOO_FEW_FILES = 1024, 128


def memory(limits: Limits, meminfo: Path = Path("/proc/meminfo")) -> Iterator[Finding]:
    """Hold free memory against what a worker per core takes; where the system does not tell, say nothing."""
    told = dict(line.split(":", 1) for line in meminfo.read_text().splitlines()) if meminfo.exists() else {}
    known = [int(told["MemAvailable"].split()[0]) * 1024] if "MemAvailable" in told else []
    known += [limits.memory] if limits.memory is not None else []
    if not known:
        return
    free, workers = min(known), usable_cores(limits)
    by = " by this container's limit" if free == limits.memory else ""
    found = f"{size(free)} are free{by}"
    if free < WORKER:
        yield Finding("memory", "fault", f"{found}, and one worker takes about {size(WORKER)}", "end other programs")
    elif free < workers * WORKER:
        few = f"{found}, and a worker on each of {workers} cores takes about {size(WORKER)}"
        yield Finding("memory", "warning", few, f"run with --jobs {free // WORKER}")
    else:
        yield Finding("memory", "good", found)


def processors(limits: Limits) -> Iterator[Finding]:
    """Hold the cores that may be used against the container's quota of time, which the system does not count in."""
    have = cores()
    if limits.cores is not None and usable_cores(limits) < have:
        found = f"{have} cores may be used, and this container's quota gives the time of {limits.cores:g}"
        do = f"run with --jobs {usable_cores(limits)}; what is timed is slowed down by the quota, and records say so"
        yield Finding("cores", "warning", found, do)
    else:
        yield Finding("cores", "good", f"{have} may be used")


def usable_cores(limits: Limits) -> int:
    """Count the cores whose whole time can be had."""
    return cores() if limits.cores is None else min(cores(), max(1, int(limits.cores)))


def shared_memory(folder: Path = Path("/dev/shm")) -> Iterator[Finding]:
    """Look at where processes share memory on Linux."""
    if not sys.platform.startswith("linux"):
        return
    do = "give the container more: docker run --shm-size=2g"
    if not folder.is_dir():
        yield Finding("shared memory", "fault", f"there is no {folder}, and processes share locks and data there", do)
        return
    free = shutil.disk_usage(folder).free
    found = f"{size(free)} are free in {folder}"
    if free < MB:
        yield Finding("shared memory", "fault", found, do)
    elif free < SHARED:
        yield Finding("shared memory", "warning", f"{found}; streamed data and ranks of their own may need more", do)
    else:
        yield Finding("shared memory", "good", found)


def open_files() -> Iterator[Finding]:
    """Look at how many files a process may have open; each worker takes some."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most == resource.RLIM_INFINITY or most >= FILES:
        yield Finding("open files", "good", "no limit" if most == resource.RLIM_INFINITY else f"up to {most}")
    else:
        level: Level = "fault" if most < TOO_FEW_FILES else "warning"
        yield Finding(
            "open files", level, f"a process may have {most} open, and workers take some each", f"ulimit -n {FILES}"
        )


def processes() -> Iterator[Finding]:
    """See whether a process that is spawned, as workers are, answers."""
    answers = ask("spawned", None, timeout=60)
    if answers.said:
        yield Finding("processes", "good", "one that was spawned has answered")
        return
    do = "look for limits on processes and shared memory (ulimit -u, /dev/shm) and for what forbids new processes"
    yield Finding("processes", "fault", f"a process cannot spawn another: {answers.ended}", do)
