"""In a child: whether a process that it spawns answers, as a run's workers must."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from typing import Any

SECONDS = 30


def answers(_: object) -> Iterator[dict[str, Any]]:
    """Give the id of a spawned process, by way of a pool with its locks and pipes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield {"pid": pool.apply_async(os.getpid).get(SECONDS)}
