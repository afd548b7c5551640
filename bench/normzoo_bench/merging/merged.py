"""What a merge did, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Merged:
    """What was joined.

    Attributes:
        folder: the folder that holds it.
        suite: the suite's name.
        cells: how many cells it has, those that wait for their tuning among them.
        to_do: how many of them have no record in any folder.
        taken: by folder, how many records of the plan's cells and trials are its.
        hardware: by the name of a processor or GPU, how many of these records were measured on it.
        kept: how many attempts lie in ``cells/older/``.
        unreadable: by path, what is wrong with what was left out.
        written: how many files were written, or would be if ``dry_run``.
        command: the command line that goes on with it.
        dry_run: whether nothing was to be written.

    """

    folder: Path
    suite: str
    cells: int
    to_do: int
    taken: Mapping[str, int]
    hardware: Mapping[str, int]
    kept: int
    unreadable: Mapping[str, str]
    written: int
    command: str
    dry_run: bool = False

    @property
    def lines(self) -> list[str]:
        """What there is to say of it."""
        taken = ", ".join(f"{number} from {folder}" for folder, number in self.taken.items())
        told = [
            f"{self.suite}: {_count(self.cells, 'cell')}, {self.to_do} to do; records: {taken}",
            f"{'would write' if self.dry_run else 'wrote'} {_count(self.written, 'file')} to {self.folder}",
        ]
        if self.kept:
            told.append(f"{_count(self.kept, 'attempt')} that no longer count: cells/older")
        if len(self.hardware) > 1:
            kinds = ", ".join(f"{name} ({_count(number, 'record')})" for name, number in self.hardware.items())
            told.append(f"measured on {len(self.hardware)} kinds of hardware: {kinds}")
        if self.unreadable:
            told.append(f"{_count(len(self.unreadable), 'file')} left out, which cannot be read:")
            told += [f"  {path}: {fault}" for path, fault in self.unreadable.items()]
        return told + [f"go on with: {self.command}"] * bool(self.to_do)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
