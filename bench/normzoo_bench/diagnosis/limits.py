"""What this process may use by Linux's control groups, as containers and batch systems set them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NONE = 2**60  # version 1 spells "no limit" as a number of about this size


@dataclass(frozen=True)
class Limits:
    """The tightest limits: ``cores`` of processor time, ``memory`` bytes that are left; None where there is none."""

    cores: float | None = None
    memory: int | None = None


def limits(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Limits:
    """Read the limits of this process's groups and of all above them, in both versions of control groups."""
    cores: list[float] = []
    memory: list[int] = []
    for group in _groups(own, root):
        cores += _cores(group)
        memory += _memory(group)
    return Limits(min(cores, default=None), min(memory, default=None))


def _groups(own: Path, root: Path) -> Iterator[Path]:
    """Give the folders of this process's groups, up to the root of each hierarchy.

    In a container the path may be the host's, which is not there: the container's own group is the root then.
    """
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        names = (
            [name for name in controllers.split(",") if name in ("cpu", "memory")] if controllers else ["", "unified"]
        )
        for name in names:
            group = root / name / path.strip("/")
            while group.is_relative_to(root / name):
                yield group
                group = group.parent


def _cores(group: Path) -> Iterator[float]:
    whole = _text(group / "cpu.max").split()  # "max 100000", or the quota's and the period's microseconds
    parts = whole or [_text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(parts) == 2 and all(part.isdigit() for part in parts) and int(parts[1]):
        yield int(parts[0]) / int(parts[1])


def _memory(group: Path) -> Iterator[int]:
    for most, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, usage = _text(group / most).strip(), _text(group / used).strip()
        if limit.isdigit() and int(limit) < _NONE and usage.isdigit():
            stat = dict(line.split() for line in _text(group / "memory.stat").splitlines())
            # what is cached of files counts as used, and is given back when it is needed
            yield max(0, int(limit) - int(usage) + int(stat.get(cached, 0)))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
