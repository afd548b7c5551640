"""The trackers by name, and what one has to do; each has a file of its own, which adds it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from normzoo_bench.errors import UsageError
from normzoo_bench.tracking.names import Named
from normzoo_suites.errors import suggest
from normzoo_suites.record import FINAL


@dataclass(frozen=True)
class Ended:
    """How a cell ended: its record's status (or ``interrupted``, ``repeated``), the reason, and its metrics by name."""

    status: str
    reason: str = ""
    metrics: Mapping[str, float] | None = None

    @property
    def result(self) -> bool:
        """Whether that is a result, and no fault."""
        return self.status in FINAL


class Curve(Protocol):
    """One cell, as a tracker shows it."""

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Add an epoch, counted from 1, with its values by name."""

    def end(self, epochs: int, ended: Ended) -> None:
        """End it after so many epochs; ``ended.metrics`` has only what no epoch has told."""


class Tracker(Protocol):
    """Where curves are shown. Whatever its methods raise costs a curve and a warning, never a cell."""

    def begin(self, cell: Named) -> Curve:
        """Begin a cell; one of the same id may have been begun before."""


Opened = Callable[[Path, str], Tracker]
"""Opens a tracker for a run folder and a suite's name; imports the library. What it raises ends the run at once."""


@dataclass(frozen=True)
class Entry:
    """A tracker that can be asked for: the package that it needs, and how it is opened."""

    package: str
    install: str
    open: Opened


TRACKERS: dict[str, Entry] = {}


def register(name: str, package: str, install: str) -> Callable[[Opened], Opened]:
    """Add a tracker under a name; ``install`` is the command that installs its ``package``."""

    def add(opened: Opened) -> Opened:
        TRACKERS[name] = Entry(package, install, opened)
        return opened

    return add


def check(names: Iterable[str]) -> tuple[str, ...]:
    """Give these trackers, each once.

    Raises:
        UsageError: for one that is not known, or whose package is not installed.

    """
    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in TRACKERS:
            raise UsageError(f"unknown tracker {name!r}; {suggest(name, TRACKERS)}")
        entry = TRACKERS[name]
        found = importlib.util.find_spec(entry.package)
        # a folder of that name, such as the one that wandb writes into, is found as a package without an origin
        if found is None or found.origin is None:
            raise UsageError(
                f"tracking by {name} needs the package {entry.package}, which is not installed; {entry.install}"
            )
    return chosen
