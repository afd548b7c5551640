"""Where decoded data is kept. Knows nothing of torch."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Give the folder of decoded data: NORMZOO_CACHE, else the user's cache folder."""
    base = os.environ.get("NORMZOO_CACHE")
    if base:
        return Path(base).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "normzoo"
