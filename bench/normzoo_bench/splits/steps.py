"""An epoch's steps: which samples make up each, and which rank has which of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from normzoo_bench.seeds import stream
from normzoo_bench.splits.dealing import dealt
from normzoo_bench.splits.draw import repeated, steps_of
from normzoo_bench.splits.ownership import owners
from normzoo_suites.settings import AccuracySettings

Indices = NDArray[np.int64]


def epochs(settings: AccuracySettings, labels: Indices) -> Callable[[int], Indices]:
    """Give a function from an epoch's number to its steps, positions [steps, batch_size].

    Position i of a step belongs to rank i mod ranks. The last partial batch is dropped. Which samples make up a step
    does not hang on how it is dealt: dealing draws from a stream of its own.
    """
    own = owners(settings, labels)
    batch, ranks = settings.batch_size, settings.ranks

    def epoch(number: int) -> Indices:
        draw = stream(settings.seed, f"order of epoch {number}")
        if own is not None:
            return _balanced(own, len(labels) // batch, batch // ranks, draw)
        order = steps_of(settings.draw, labels, batch, draw)
        return dealt(settings.dealing, order, labels, ranks, stream(settings.seed, f"dealing of epoch {number}"))

    return epoch


def _balanced(own: list[Indices], steps: int, local: int, draw: np.random.Generator) -> Indices:
    """Draw ``local`` samples a step from each rank; a rank with fewer than it needs goes through them again."""
    ranks = [repeated(positions, steps * local, draw).reshape(steps, local) for positions in own]
    return np.stack(ranks, axis=2).reshape(steps, local * len(own))
