"""Which samples make up a step, and in which order a stream goes through a part of the data.

Where a draw asks for more samples of a class than there are, they are gone through again, each as often as the next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from normzoo_bench.options import Known, number, read, whole

Indices = NDArray[np.int64]

_WIDTH = number(0.3, most=1)
DRAWS: Known = {
    "iid": {},
    "balanced": {},
    "classes": {"k": whole(2)},
    "class_ordered": {},
    "drifting": {"width": _WIDTH},
}
ORDERS: Known = {"iid": {}, "class_ordered": {}, "drifting": {"width": _WIDTH}}


def steps_of(text: str, labels: Indices, batch: int, draw: np.random.Generator) -> Indices:
    """Draw an epoch's steps, positions [steps, batch]; the last partial batch is dropped.

    ``iid`` goes through all samples in any order. ``balanced`` has every class equally often in each step, as nearly as
    the batch allows: counts differ by at most 1. ``classes(k=2)`` has k classes in each step, equally often but for at
    most 1, over an epoch each class as often as any other but for at most 1 step. ``class_ordered`` and ``drifting``
    are the orders below, cut into steps, each of which is shuffled.
    """
    call = read("draw", text, DRAWS)
    steps = len(labels) // batch
    if call.name in ORDERS:
        cut = order(text, labels, draw)[: steps * batch].reshape(steps, batch)
        return cut if call.name == "iid" else draw.permuted(cut, axis=1)
    present = np.unique(labels)
    kinds = (
        _even(steps, batch, len(present), draw)
        if call.name == "balanced"
        else _turns(steps, call.options["k"], len(present), draw)[:, np.arange(batch) % call.options["k"]]
    )
    return _filled(present[draw.permuted(kinds, axis=1)], labels, draw)


def order(text: str, labels: Indices, generator: np.random.Generator) -> Indices:
    """Give an order of a part of the data, positions [n] in which every sample stands exactly once.

    ``iid``: any. ``class_ordered``: class by class, the classes in an order that is drawn, and shuffled within. So is
    ``drifting(width=0.3)``, of which each sample is then moved by a uniform draw of up to ``width`` times the stream's
    length to either side, so that the label distribution moves slowly: a window sees the classes of ± width around it.

    Raises:
        UsageError: for an order that does not exist.

    """
    call = read("order", text, ORDERS)
    if call.name == "iid":
        return generator.permutation(len(labels))
    _, kinds = np.unique(labels, return_inverse=True)
    turn = generator.permutation(kinds.max(initial=0) + 1)  # of each class
    by_class = np.lexsort((generator.random(len(labels)), turn[kinds]))
    if call.name == "class_ordered":
        return by_class
    width = call.options["width"] * len(labels)
    moved = np.arange(len(labels)) + generator.uniform(-width, width, len(labels))
    return by_class[np.argsort(moved, kind="stable")]


def repeated(own: Indices, count: int, draw: np.random.Generator) -> Indices:
    """Draw so many of these samples; all are gone through, in another order each time, before any comes again."""
    rounds = -(-count // len(own))
    return np.concatenate([draw.permutation(own) for _ in range(rounds)])[:count]


def _even(steps: int, batch: int, classes: int, draw: np.random.Generator) -> Indices:
    """Give classes by number [steps, batch], each equally often but for those that a step has one more of."""
    whole_rounds = np.arange(batch - batch % classes) % classes
    extra = _turns(steps, batch % classes, classes, draw)
    return np.hstack([np.tile(whole_rounds, (steps, 1)), extra])


def _turns(steps: int, count: int, classes: int, draw: np.random.Generator) -> Indices:
    """Give for each step so many different classes, those that have had the fewest turns; equals are drawn."""
    had = np.zeros(classes, np.int64)
    turns = np.empty((steps, count), np.int64)
    for step in range(steps):
        turns[step] = np.lexsort((draw.random(classes), had))[:count]
        had[turns[step]] += 1
    return turns


def _filled(kinds: Indices, labels: Indices, draw: np.random.Generator) -> Indices:
    """Put samples of the classes where these are asked for."""
    filled = np.empty(kinds.size, np.int64)
    for kind in np.unique(kinds):
        places = np.flatnonzero(kinds == kind)
        filled[places] = repeated(np.flatnonzero(labels == kind), len(places), draw)
    return filled.reshape(kinds.shape)
