"""How far a run is: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from normzoo_suites import Record

LINE_EVERY_S = 10.0


class Display(Protocol):
    """Is told of every finished cell."""

    def __call__(self, record: Record) -> None:
        """Show one more."""
        ...


@contextmanager
def display(console: Console, total: int) -> Iterator[Display]:
    """Show ``total`` cells on their way."""
    if console.is_terminal and total:
        with _bar(console) as bar:
            task = bar.add_task("measuring", total=total)
            ended: Counter[str] = Counter()

            def advance(record: Record) -> None:
                ended[record.status] += 1
                faults = "".join(f" [red]{n} {status}[/]" for status, n in ended.items() if status != "ok")
                bar.update(task, advance=1, description=f"measuring{faults}")

            yield advance
    else:
        lines = _Lines(console, total)

        def tell(record: Record) -> None:
            with contextlib.suppress(OSError):  # nobody reads any more: that is no reason to stop measuring
                lines(record)

        yield tell


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("·"),
        TimeElapsedColumn(),
        TextColumn("· left"),
        TimeRemainingColumn(),
        console=console,
    )


class _Lines:
    """A line now and then, and one for every new way in which a cell is not ok."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total, self.done = console, total, 0
        self.began = self.told = time.monotonic()
        self.seen: set[str] = set()

    def __call__(self, record: Record) -> None:
        self.done += 1
        now = time.monotonic()
        fault = f"{record.settings['normalizer']}: {record.status}: {record.reason}"
        if record.status != "ok" and fault not in self.seen:
            self.seen.add(fault)
            self.console.print(fault, markup=False)
        if now - self.told >= LINE_EVERY_S or self.done == self.total:
            left = (now - self.began) / self.done * (self.total - self.done)
            self.console.print(f"{self.done}/{self.total} cells, {now - self.began:.0f} s, about {left:.0f} s left")
            self.told = now
