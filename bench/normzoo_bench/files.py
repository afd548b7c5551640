"""How a file is written: whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from pathlib import Path

PARTIAL = re.compile(r"\..+\.\d+\.part")
"""The names of files that are being written, here and in the reports."""


def real(path: Path) -> Path:
    """Give a path without links and dots; of links that lead round in a circle, as far as they lead."""
    return Path(os.path.realpath(path))


def write_whole(file: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file by rename, so that a reader, or if it is ``durable`` a power cut, sees the old one or the new one.

    Raises:
        OSError: when it cannot be written; what was there before still is.

    """
    # not by the process's number: another machine that shares the folder may have one of the same
    partial = file.with_name(f".{file.name}.{uuid.uuid4().int % 10**9}.part")
    try:
        with partial.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        partial.replace(file)
    except OSError:
        with contextlib.suppress(OSError):  # where its folder is none, there is nothing to take away
            partial.unlink()
        raise
