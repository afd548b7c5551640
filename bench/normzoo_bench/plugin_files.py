"""Files of normalizers, loaded where a run is planned: what one does to the process there reaches no other's worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from normzoo import plugins


def load(path: str | Path) -> list[str]:
    """Load a file; give the names that it registers. See ``normzoo.plugins.load``, and for what it raises.

    Workers begin with the environment, the folder and the import path of the process that plans. So what the file
    changes of them is put back here; in the workers of its own normalizers it is loaded anew and holds.
    """
    with _kept():
        return plugins.load(path)


@contextmanager
def _kept() -> Iterator[None]:
    environment, folder, path = dict(os.environ), Path.cwd(), [*sys.path]
    mask = os.umask(0o077)
    os.umask(mask)
    try:
        yield
    finally:
        sys.path[:] = path
        os.umask(mask)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
