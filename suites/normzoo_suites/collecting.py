"""Python's search for cycles of garbage, paused where many things are made that have none."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def pause() -> Iterator[None]:
    """Look for no cycles meanwhile, as a context or a decorator.

    The search goes through all cells or records that there are, again and again as they grow in number: with 100,000
    of them that is a quarter of the time. They have no cycles, and are freed without it.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
