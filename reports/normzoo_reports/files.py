"""How a file is written: whole, or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace(content: bytes, out: Path) -> Path:
    """Write a file beside its place and rename it, so that nobody ever reads half of one; missing folders are made.

    Raises:
        OSError: when it cannot be written there; nothing is left behind.

    """
    beside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(out)
    except OSError:
        with contextlib.suppress(OSError):  # where its folder is none, there is nothing to take away
            beside.unlink()
        raise
    return out
