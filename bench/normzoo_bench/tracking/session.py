"""The trackers of one run: a process for each, started before anything is measured and ended after everything."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from normzoo_bench.errors import UsageError
from normzoo_bench.files import real
from normzoo_bench.tracking.names import varied
from normzoo_bench.tracking.spool import Spool, spooling, write_ended
from normzoo_suites import Record

if TYPE_CHECKING:  # a tracker's process imports this, and need not wait for torch
    from normzoo_bench.planner import Plan

ABOUT, READY, FAILED, END = "about.json", "ready", "failed", "end"
"""Files between the runner and a tracker's process: what it is to do, that it can, why not, and that it is to end."""

OPEN_S = 60.0
"""How long a library may take to be imported; a slower one is no fault, and the run begins without waiting."""

CLOSE_S = 60.0
"""How long trackers may take to show the last of it, once everything is measured."""

LONGEST = 300  # characters of an error's text

Warn = Callable[[str], None]


def describe(error: BaseException) -> str:
    """Say what an error is in one line."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", LONGEST, placeholder=" …")


class _Process:
    """One tracker's process, as the runner sees it."""

    def __init__(self, name: str, folder: Path, about: dict[str, object]) -> None:
        self.name, self.folder, self.warned = name, folder, False
        folder.mkdir()
        (folder / ABOUT).write_text(json.dumps(about | {"tracker": name}), encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", __package__, str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL,  # a library that asks for a password gets none
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the runner's, which then ends this one in its own time
        )

    def ready(self, until: float) -> None:
        """Wait until the library is there.

        Raises:
            UsageError: when it cannot be opened.

        """
        while not (self.folder / READY).exists() and time.monotonic() < until:
            gone = self.process.poll() is not None
            if told := self._told():
                raise UsageError(f"tracking by {self.name} cannot begin: {told}")
            if gone:
                raise UsageError(f"tracking by {self.name} cannot begin: {self._how()}")
            time.sleep(0.02)

    def fault(self) -> str:
        """Say what went wrong, if anything did."""
        gone = self.process.poll() is not None
        told = self._told() or (self._how() if gone else "")
        if gone:
            shutil.rmtree(self.folder, ignore_errors=True)  # nobody reads it any more, so nobody need write it
        return told

    def close(self, until: float) -> str:
        """Wait until it has shown the rest; say what went wrong, if anything did."""
        try:
            self.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            return f"not all could be shown within {CLOSE_S:g} s"
        return self.fault() if self.process.returncode else self._told()

    def kill(self) -> None:
        """End it at once, with what its library has started."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _told(self) -> str:
        try:
            return (self.folder / FAILED).read_text(encoding="utf-8")
        except OSError:
            return ""

    def _how(self) -> str:
        code = self.process.returncode
        return f"its process died ({f'signal {-code}' if code < 0 else f'exit code {code}'})"


class Session:
    """The trackers of one run, as the runner sees them."""

    def __init__(self, processes: Sequence[_Process], warn: Warn) -> None:
        self.processes, self.warn = processes, warn

    def ended(self, record: Record) -> None:
        """Tell the trackers how a cell has ended; warn once for each that has failed."""
        for one in self.processes:
            self._warn_once(one, one.fault())
            if one.process.returncode is None:
                try:
                    write_ended(one.folder, record)
                except OSError as error:
                    self._warn_once(one, describe(error))

    def close(self) -> None:
        """Wait for the trackers, all in all no longer than ``CLOSE_S``."""
        until = time.monotonic() + CLOSE_S
        for one in self.processes:
            with contextlib.suppress(OSError):
                (one.folder / END).touch()
        for one in self.processes:
            self._warn_once(one, one.close(until))

    def _warn_once(self, one: _Process, fault: str) -> None:
        if fault and not one.warned:
            self.warn(f"tracking by {one.name}: {fault}; what is measured is not touched by that")
            one.warned = True


@contextmanager
def started(names: Sequence[str], folder: Path, plan: Plan, warn: Warn) -> Iterator[Session]:
    """Start these trackers of a plan's run in ``folder``; what is measured meanwhile is shown by them.

    Raises:
        UsageError: when one cannot be opened.

    """
    if not names:
        yield Session((), warn)
        return
    cells = [*plan.suite.cells(), *plan.trials]
    by = varied(cells, plan.suite.select.grid if plan.suite.select else ())
    about: dict[str, object] = {"folder": str(real(folder)), "suite": plan.suite.name, "varied": by}
    own = Path(tempfile.mkdtemp(prefix="normzoo-tracking-"))
    processes: list[_Process] = []
    try:
        processes += (_Process(name, own / name, about) for name in names)
        until = time.monotonic() + OPEN_S
        for one in processes:
            one.ready(until)
        session = Session(processes, warn)
        try:
            with spooling(Spool(tuple(one.folder for one in processes))):
                yield session
        finally:
            session.close()
    finally:
        for one in processes:
            one.kill()
        shutil.rmtree(own, ignore_errors=True)
