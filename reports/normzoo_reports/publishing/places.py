"""Where a site goes: a folder, anything that fsspec writes to, or a branch of a git repository."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from normzoo_reports.files import replace
from normzoo_suites import SuiteError

_RECORDS = "cells"  # a run folder's records are no part of a site, and may be many


class Place(Protocol):
    """Where a site goes. Paths are relative to the site and have slashes."""

    name: str
    root: Path | None
    """The folder, where it is one: a run may lie in it."""

    def paths(self) -> set[str]:
        """Give all files that are there."""

    def read(self, path: str) -> bytes:
        """Give a file's content."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file, whole or not at all."""

    def finish(self, message: str) -> str:
        """Make what was written seen, and say what is left to do, if anything."""


def open_place(to: str | Path) -> Place:
    """Give the place that a destination names; nothing is written yet.

    Raises:
        SuiteError: when it names none, or one that cannot be written to.

    """
    text = str(to)
    if text.startswith("git:"):
        from normzoo_reports.publishing.branch import Branch

        return Branch(text)
    return _url(text) if "://" in text or "::" in text else Folder(Path(to))


def _url(text: str) -> Place:
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    try:
        system, root = fsspec.core.url_to_fs(text)
    except Exception as error:  # a driver that is not installed, no such protocol, and what drivers raise besides
        why = str(error) or type(error).__name__
        raise SuiteError(
            f"cannot publish to {text}: {why}; DEST is a folder, a URL that fsspec knows, or git:BRANCH"
        ) from None
    # a folder knows how to rename, and that runs may lie in it
    return Folder(Path(root)) if isinstance(system, LocalFileSystem) else Url(text, system, root)


class Folder:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        if root.exists() and not root.is_dir():
            raise SuiteError(f"cannot publish to {root}: it is a file; name a folder")
        self.name = str(root)
        self.root: Path | None = root
        self._root = root

    def paths(self) -> set[str]:
        """Give all files, without hidden ones and runs' records."""
        found = set()
        for folder, inner, files in os.walk(self._root):
            inner[:] = [name for name in inner if name != _RECORDS and not name.startswith(".")]
            found |= {(Path(folder) / name).relative_to(self._root).as_posix() for name in files}
        return found

    def read(self, path: str) -> bytes:
        """Give a file's content."""
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise SuiteError(f"cannot read {self._root / path}: {error.strerror or error}") from None

    def write(self, path: str, content: bytes) -> None:
        """Write beside, then rename."""
        try:
            replace(content, self._root / path)
        except OSError as error:
            raise SuiteError(f"cannot write {self._root / path}: {error.strerror or error}") from None

    def finish(self, message: str) -> str:
        """There is nothing left to do."""
        return ""


class Url:
    """Anything else that fsspec writes to; an object is there whole or not at all."""

    root: Path | None = None

    def __init__(self, name: str, system: Any, root: str) -> None:
        self.name, self._system, self._root = name, system, root.rstrip("/")

    def paths(self) -> set[str]:
        """Give all files below the URL."""
        found = self._asked(self._find)
        return {path.removeprefix(self._root).lstrip("/") for path in found}

    def _find(self) -> list[str]:
        try:
            return list(self._system.find(self._root))
        except FileNotFoundError:
            return []

    def read(self, path: str) -> bytes:
        """Give a file's content."""
        return bytes(self._asked(lambda: self._system.cat_file(f"{self._root}/{path}")))

    def write(self, path: str, content: bytes) -> None:
        """Write one object."""
        full = f"{self._root}/{path}"
        self._asked(lambda: self._system.makedirs(full.rpartition("/")[0], exist_ok=True))
        self._asked(lambda: self._system.pipe_file(full, content))

    def finish(self, message: str) -> str:
        """There is nothing left to do."""
        return ""

    def _asked(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # every driver has errors of its own
            raise SuiteError(f"cannot publish to {self.name}: {str(error) or type(error).__name__}") from None
