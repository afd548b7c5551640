"""Who measures which cell right now, where several runners work in one folder, on one machine or on several.

Every runner has a file in the run folder's ``runners/``, which says what it measures, and which it touches every few
seconds. A cell is free where no living runner names it. A runner is dead when its file's time has stood still for
``SILENCE`` seconds of the looker's own clock: clocks of several machines are never compared, and one that is set does
no harm. On the machine where it ran it is known at once, since the kernel gives a dead process's lock free, and after
a restart of that machine, too. Who was taken for dead and was only asleep takes a new place with its next cells.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from normzoo_bench.files import write_whole

FOLDER = "runners"

BEAT = 5.0
"""Seconds between two signs of life."""

SILENCE = 60.0
"""Seconds without one after which a runner on another machine counts as dead."""

PATIENCE = 30.0
"""Seconds to wait for the folder's lock, which is held for milliseconds at a time."""


class Leases:
    """A runner's place among those that work in a folder.

    Args:
        folder: the run folder.
        about: what it measures; runners with another one do not work beside it.

    """

    def __init__(self, folder: Path, about: str) -> None:
        self.folder, self.about = folder / FOLDER, about
        self.lock = FileLock(folder / ".lock", timeout=PATIENCE)
        self._name = ""
        self._life: FileLock | None = None
        self._cells: set[str] = set()
        self._seen: dict[str, tuple[int, float]] = {}
        self._over = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)

    @property
    def _file(self) -> Path:
        return self.folder / f"{self._name}.json"

    def join(self) -> set[str]:
        """Take a place; give what others measure who are at something else. Nothing is taken where there are any.

        Who measures single cells, or whose file cannot be read, is in nobody's way.
        """
        self.settle()
        with self.lock:
            others = {about for about, _ in self._others().values()} - {self.about, ""}
            if not others:
                self.folder.mkdir(exist_ok=True)
                self._tell()
                self._beating.start()
            return others

    def take(self, cells: Iterable[str]) -> bool:
        """Take these cells, all or none; the lock must be held."""
        wanted = set(cells)
        if any(wanted & theirs for _, theirs in self._others().values()):
            return False
        self._cells |= wanted
        self._tell()
        return True

    def give_back(self, cells: Iterable[str]) -> None:
        """Set these cells free, whose records are written or which are not measured after all."""
        self._cells -= set(cells)
        with self.lock:
            self._tell()

    def leave(self) -> None:
        """Set all free."""
        self._over.set()
        if self._beating.is_alive():
            self._beating.join()
        if self._life is not None:
            with contextlib.suppress(OSError, Timeout), self.lock:
                self._remove(self._name)
            self._life.release()

    def others(self) -> int:
        """Count the other runners at work in the folder; the lock must be held."""
        return len(self._others())

    def _tell(self) -> None:
        """Say what we have; the lock must be held."""
        if self._life is None or not self._file.exists():
            self._begin()
        known = {"machine": _machine(), "host": _host(), "about": self.about, "cells": sorted(self._cells)}
        write_whole(self._file, json.dumps(known), durable=False)

    def _begin(self) -> None:
        """Take a place of our own; who was taken for dead holds a lock that nobody can see any more."""
        if self._life is not None:
            self._life.release()
        self._name = uuid.uuid4().hex
        self._life = FileLock(self.folder / f"{self._name}.lock", timeout=0)
        self._life.acquire()

    def settle(self) -> None:
        """Wait until who seems to be silent has been so for long enough by our own clock, or has given a sign.

        The lock must be free: others take cells meanwhile.
        """
        until = time.monotonic() + SILENCE + BEAT
        while time.monotonic() < until:
            with self.lock:
                if not any(self._is_doubtful(name) for name in self._others()):
                    return
            time.sleep(BEAT / 5)

    def _is_doubtful(self, name: str) -> bool:
        """Tell whether a runner elsewhere has given no sign for long, if its clock and ours agree."""
        with contextlib.suppress(OSError):
            file = self.folder / f"{name}.json"
            return _read(file).get("machine") != _machine() and time.time() - file.stat().st_mtime > SILENCE
        return False

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with contextlib.suppress(OSError):  # a folder that is away for a while is no reason to stop measuring
                os.utime(self._file)  # which does not make one: who was taken for dead stays so until it takes cells

    def _others(self) -> dict[str, tuple[str, set[str]]]:
        """Give what the other living runners are about and what each has; what the dead have left is removed."""
        found = {}
        for file in self.folder.glob("*.json"):
            if file.stem == self._name:
                continue
            told = _read(file)
            if self._is_dead(file, told):
                self._remove(file.stem)
            else:
                found[file.stem] = (str(told.get("about", "")), set(map(str, told.get("cells", []))))
        return found

    def _is_dead(self, file: Path, told: dict[str, Any]) -> bool:
        if told.get("machine") == _machine() and _is_free(file.with_suffix(".lock")):
            return True
        if _restarted(told) and time.time() - file.stat().st_mtime > SILENCE:
            return True
        beat, now = file.stat().st_mtime_ns, time.monotonic()
        before, since = self._seen.get(file.stem, (None, now))
        self._seen[file.stem] = (beat, now if beat != before else since)
        return now - self._seen[file.stem][1] > SILENCE

    def _remove(self, name: str) -> None:
        for file in (self.folder / f"{name}.json", self.folder / f"{name}.lock"):
            file.unlink(missing_ok=True)


def at_work(folder: Path) -> int:
    """Count the runners that work in a run folder at this moment."""
    leases = Leases(folder, "")
    if not leases.folder.is_dir():
        return 0
    leases.settle()
    with leases.lock:
        return leases.others()


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}  # cut off by its writer's end: its silence will tell


def _is_free(lock: Path) -> bool:
    try:
        with FileLock(lock, timeout=0):
            return True
    except Timeout:
        return False


def _machine() -> str:
    """Name the machine since it was started; on systems that do not tell, a name that no other runner has."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return _UNKNOWN


def _host() -> str:
    """Tell machines apart, by a number that says nothing about them, whenever they were started."""
    with contextlib.suppress(OSError):
        told = Path("/etc/machine-id").read_text(encoding="ascii").strip()
        return hashlib.sha256(f"{told} {socket.gethostname()}".encode()).hexdigest()[:16] if told else ""
    return ""


def _restarted(told: dict[str, Any]) -> bool:
    """Tell whether a file is from this machine before it was started anew."""
    return bool(_host()) and told.get("host") == _host() and told.get("machine") != _machine()


_UNKNOWN = uuid.uuid4().hex
