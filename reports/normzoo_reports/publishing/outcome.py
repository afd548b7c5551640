"""What publishing came to, as plain data. Light: it is imported with the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """What was done, or would be.

    Attributes:
        to: the destination as it was named.
        dry_run: that nothing was written.
        reports: the folders of the reports that are new or were made again.
        left: those that the site held already, and that are as they were.
        written: all files that were written, relative to the destination.
        skipped: arguments that are files and no run folders.
        broken: entries of the destination that are left out, each with the reason.
        note: what is left to do, such as the command that pushes a branch.

    """

    to: str
    dry_run: bool
    reports: tuple[str, ...]
    left: tuple[str, ...]
    written: tuple[str, ...]
    skipped: tuple[str, ...]
    broken: tuple[str, ...]
    note: str

    @property
    def lines(self) -> list[str]:
        """The same in words, a line each."""
        told = [f"{name}: skipped, it is a file and no run folder" for name in self.skipped]
        told += [f"{name}: {'would be' if self.dry_run else 'was'} written" for name in self.written]
        told += [f"{name}: left as it is" for name in self.left]
        told += [f"{broken}; left out of the index, and not touched" for broken in self.broken]
        if not self.written:
            told.append(f"{self.to} is up to date: nothing to write")
        return told + [self.note] * bool(self.note)
