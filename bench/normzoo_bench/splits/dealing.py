"""How one step's samples are dealt to the ranks: each part as large as the next, the step's samples unchanged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from normzoo_bench.options import Known, number, read, whole

Indices = NDArray[np.int64]
Wish = Callable[[Indices], tuple[Indices, Indices]]
"""From how many of each class are left to how many a part wants, and the classes in the order of its liking."""

DEALINGS: Known = {
    "shuffled": {},
    "by_class": {},
    "classes": {"k": whole(2)},
    "dirichlet": {"alpha": number(0.1, most=1e6)},
}


def dealt(text: str, order: Indices, labels: Indices, ranks: int, draw: np.random.Generator) -> Indices:
    """Deal every step of ``order`` [steps, batch] to ranks: position i of a step belongs to rank i mod ranks.

    ``shuffled`` leaves it. ``by_class`` sorts a step by label and deals it in blocks, so that a part holds neighbouring
    classes. ``classes(k=2)`` gives every part k classes, equally many samples of each: exactly so where each class's
    count is a multiple of local batch / k and no class fills more than one k-th of the step, else as nearly as the
    step's samples allow. ``dirichlet(alpha=0.1)`` draws for every part of every step a mix of the step's classes from
    the Dirichlet distribution with ``alpha`` for each class. In the last two, parts are dealt in an order that is
    drawn; what a class has not left is taken from those that the part likes next.
    """
    call = read("dealing", text, DEALINGS)
    if call.name == "shuffled":
        return order
    if call.name == "by_class":
        return _by_class(order, labels, ranks)
    local = order.shape[1] // ranks
    if call.name == "classes":
        wish = _some_classes(call.options["k"], local, draw)
    else:
        wish = _mix(float(call.options["alpha"]), local, draw)
    return np.stack([step[_parts(labels[step], ranks, draw, wish).T.ravel()] for step in order])


def _by_class(order: Indices, labels: Indices, ranks: int) -> Indices:
    by_label = np.argsort(labels[order], axis=1, kind="stable")
    ordered = np.take_along_axis(order, by_label, axis=1)
    blocks = ordered.reshape(len(order), ranks, -1)  # [steps, ranks, local]
    return blocks.transpose(0, 2, 1).reshape(order.shape)


def _some_classes(k: int, local: int, draw: np.random.Generator) -> Wish:
    """Want k classes, those with the most left: so no class is left at the end that parts cannot share out any more.

    Equals are drawn, and so it varies with the step which classes come together.
    """
    size = local // k

    def wish(left: Indices) -> tuple[Indices, Indices]:
        liking = np.lexsort((draw.random(len(left)), -np.minimum(left, size), -(left // size)))
        wanted = np.zeros_like(left)
        wanted[liking[:k]] = size
        return wanted, liking

    return wish


def _mix(alpha: float, local: int, draw: np.random.Generator) -> Wish:
    """Want a mix of classes that is drawn, rounded so that the largest remainders get the last places."""

    def wish(left: Indices) -> tuple[Indices, Indices]:
        shares = draw.dirichlet(np.full(len(left), alpha))
        wanted = np.floor(local * shares).astype(np.int64)
        rest = np.argsort(wanted - local * shares, kind="stable")[: local - wanted.sum()]
        wanted[rest] += 1
        return wanted, np.lexsort((draw.random(len(left)), -shares))

    return wish


def _parts(labels: Indices, ranks: int, draw: np.random.Generator, wish: Wish) -> Indices:
    """Give every rank its places in a step with these labels, [ranks, local]."""
    _, kinds, left = np.unique(labels, return_inverse=True, return_counts=True)
    local = len(labels) // ranks
    turns = draw.permutation(ranks)
    taken = np.empty((ranks, len(left)), np.int64)  # by turn and class
    for turn in range(ranks):
        taken[turn] = _nearest(*wish(left), left, local)
        left = left - taken[turn]
    owner = np.empty(len(labels), np.int64)
    owner[np.argsort(kinds, kind="stable")] = np.repeat(np.tile(turns, len(left)), taken.T.ravel())
    return np.argsort(owner, kind="stable").reshape(ranks, local)


def _nearest(wanted: Indices, liking: Indices, left: Indices, local: int) -> Indices:
    """Take what is wanted as far as it is left, then in the order of liking: ``local`` samples in all."""
    taken = np.minimum(wanted, left)
    room = (left - taken)[liking]
    missing = local - taken.sum()
    taken[liking] += np.clip(missing - (np.cumsum(room) - room), 0, room)
    return taken
