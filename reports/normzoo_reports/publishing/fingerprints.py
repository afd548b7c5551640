"""What tells whether a report is still that of its records, and whether two runs are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

_WITNESSES = 16
_LENGTH = 16


def of_records(run: Path, but: str) -> str:
    """Hash every JSON file of a run folder, with its name; ``but`` names files that are no part of the run."""
    digest = hashlib.sha256()
    for file in sorted(run.rglob("*.json")):
        if file.is_file() and file.name != but and not file.name.startswith("."):
            _feed(digest, file.relative_to(run).as_posix(), file.read_bytes())
    return digest.hexdigest()[:_LENGTH]


@cache
def of_code() -> str:
    """Hash the code and the templates that make a report: this package's, and that of the suites."""
    digest = hashlib.sha256()
    for package in ("normzoo_reports", "normzoo_suites"):
        for name, content in _sources(resources.files(package), package):
            _feed(digest, name, content)
    return digest.hexdigest()[:_LENGTH]


def witnesses(run: Path) -> dict[str, str]:
    """Hash some of a run's records, by name: what they hold of times and seeds tells this run from any other."""
    files = sorted((run / "cells").glob("*.json"))[:_WITNESSES]
    return {file.stem: hashlib.sha256(file.read_bytes()).hexdigest()[:_LENGTH] for file in files}


def same_run(run: Path, seen: dict[str, str]) -> bool:
    """Whether a run holds any of the records that another was seen with: then it is that one, grown or not."""
    files = ((run / "cells" / f"{name}.json", told) for name, told in seen.items())
    return any(
        file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest()[:_LENGTH] == told for file, told in files
    )


def _sources(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        path = f"{name}/{item.name}"
        if item.is_dir():
            yield from _sources(item, path)
        elif item.name.endswith((".py", ".j2", ".css", ".js")):
            yield path, item.read_bytes()


def _feed(digest: hashlib._Hash, name: str, content: bytes) -> None:
    # lengths keep one file's end from passing for another's beginning
    digest.update(f"{len(name)} {len(content)} {name}\n".encode("utf-8", "surrogateescape"))
    digest.update(content)
