"""A folder of data known by its content: the same files have the same fingerprint on every machine."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Iterator
from os import stat_result
from pathlib import Path

_SETTLED_NS = 2 * 10**9  # the coarsest clock of a file system in use (FAT) ticks every 2 s
_README_HEADER = re.compile(rb"---\r?\n.*?\n---", re.DOTALL)
_README_MATTERS = re.compile(rb"^(configs|dataset_info):", re.MULTILINE)


def fingerprint(folder: Path, memos: Path) -> str:
    """Give eight hex digits over the names and the whole content of a folder's data files.

    Reading all files takes a while for large data, so the result is kept in the folder ``memos`` under the files'
    names, sizes and times; where that cannot be written, the files are read again the next time.

    Raises:
        OSError: when a file cannot be read.

    """
    stats = _stats(folder)
    memo = _memo(folder, stats, memos)
    if known := _memorized(memo):
        return known
    digest = hashlib.sha256()
    for name in stats:
        content = _header(folder / name) if name == "README.md" else _content(folder / name)
        digest.update(f"{name} {content}\n".encode() if content else b"")
    found = digest.hexdigest()[:8]
    # a file written just now can change once more without its time changing
    if all(stat.st_mtime_ns < time.time_ns() - _SETTLED_NS for stat in stats.values()):
        _memorize(memo, found)
    return found


def known(folder: Path, memos: Path) -> tuple[bool, int]:
    """Tell whether ``fingerprint`` would have to read no file, and how many bytes the data files have."""
    stats = _stats(folder)
    return _memorized(_memo(folder, stats, memos)) is not None, sum(stat.st_size for stat in stats.values())


def _stats(folder: Path) -> dict[str, stat_result]:
    files = {file.relative_to(folder).as_posix(): file for file in _data_files(folder)}
    return {name: files[name].stat() for name in sorted(files)}


def _memo(folder: Path, stats: dict[str, stat_result], memos: Path) -> Path:
    return memos / f"{_listing(folder, stats)}.fingerprint"


def _data_files(folder: Path) -> Iterator[Path]:
    """Find all files but hidden ones, those in hidden folders, and words about the data."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if not any(part.startswith(".") for part in inside.parts) and path.is_file() and not _is_about(inside):
            yield path


def _is_about(file: Path) -> bool:
    """Tell words about the data from data: a picture ``license_plate.png`` is data."""
    if file.as_posix() == "README.md":  # see _header
        return False
    words = file.suffix.lower() in ("", ".txt", ".rst") and file.name.upper().startswith(("README", "LICENSE"))
    return words or file.suffix.lower() == ".md"


def _header(readme: Path) -> str:
    """Hash the YAML at a README.md's top where it tells ``datasets`` which file is which part; "" where it does not."""
    header = _README_HEADER.match(readme.read_bytes())
    return hashlib.sha256(header[0]).hexdigest() if header and _README_MATTERS.search(header[0]) else ""


def _content(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _listing(folder: Path, stats: dict[str, stat_result]) -> str:
    digest = hashlib.sha256(str(folder).encode())
    for name, stat in stats.items():
        digest.update(f"\n{name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _memorized(memo: Path) -> str | None:
    try:
        known = memo.read_bytes()
    except OSError:
        return None
    return known.decode() if re.fullmatch(rb"[0-9a-f]{8}", known) else None


def _memorize(memo: Path, found: str) -> None:
    with contextlib.suppress(OSError):  # it only saves time
        memo.parent.mkdir(parents=True, exist_ok=True)
        memo.write_text(found, encoding="ascii")
