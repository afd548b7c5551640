"""An epoch's steps: which samples make up each, and which rank has which of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from normzoo_bench.seeds import stream
from normzoo_bench.splits.dealing import dealt
from normzoo_bench.splits.draw import repeated, steps_of
from normzoo_bench.splits.ownership import owners
from normzoo_suites.settings import AccuracySettings

Indices = NDArray[np.int64]


class Steps(NamedTuple):
    """An epoch's steps, both [steps, batch_size].

    Attributes:
        order: positions in the training part; position i of a step belongs to rank i mod ranks.
        places: where in the step each sample would be, were it not dealt. What is drawn for a step's samples one by
            one, augmentation, is drawn for these places: dealing changes nothing but who shares a statistic.

    """

    order: Indices
    places: Indices


def epochs(settings: AccuracySettings, labels: Indices) -> Callable[[int], Indices]:
    """Give a function from an epoch's number to the order of its steps; see ``steps``."""
    made = steps(settings, labels)
    return lambda number: made(number).order


def steps(settings: AccuracySettings, labels: Indices) -> Callable[[int], Steps]:
    """Give a function from an epoch's number to its steps.

    The last partial batch is dropped. Which samples make up a step does not hang on how it is dealt: dealing draws from
    a stream of its own.
    """
    own = owners(settings, labels)
    batch, ranks = settings.batch_size, settings.ranks

    def epoch(number: int) -> Steps:
        draw = stream(settings.seed, f"order of epoch {number}")
        if own is not None:
            return _undealt(_balanced(own, len(labels) // batch, batch // ranks, draw))
        order = steps_of(settings.draw, labels, batch, draw)
        if settings.dealing == "shuffled":
            return _undealt(order)
        whole = np.arange(order.size).reshape(order.shape)
        cards = stream(settings.seed, f"dealing of epoch {number}")
        given = dealt(settings.dealing, whole, labels[order].ravel(), ranks, cards)
        return Steps(order.ravel()[given], given % batch)

    return epoch


def _undealt(order: Indices) -> Steps:
    return Steps(order, np.broadcast_to(np.arange(order.shape[1]), order.shape))


def _balanced(own: list[Indices], steps: int, local: int, draw: np.random.Generator) -> Indices:
    """Draw ``local`` samples a step from each rank; a rank with fewer than it needs goes through them again."""
    ranks = [repeated(positions, steps * local, draw).reshape(steps, local) for positions in own]
    return np.stack(ranks, axis=2).reshape(steps, local * len(own))
