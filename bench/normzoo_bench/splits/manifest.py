"""What a record keeps of a split: a hash of who had which samples, and a small table of who had which classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normzoo_bench.splits.ownership import owners
from normzoo_bench.splits.steps import epochs
from normzoo_suites.settings import AccuracySettings

Indices = NDArray[np.int64]
RANKS, PARTS, STEPS, CLASSES = 64, 32, 8, 100


def manifest(settings: AccuracySettings, labels: Indices, classes: int) -> dict[str, Any]:
    """Give ``manifest``, 16 hex digits, ``labels``, counts by class for every row, and ``rows``, what a row is.

    Of a split, a row is a ``rank`` with all that it owns, 64 of them at most, and the hash is over that. Of a dealing,
    it is a rank's ``part`` of one of the first epoch's first 8 steps, step by step, 32 at most. Of a draw by itself, it
    is a whole ``step``: 32 of them, spread over the first epoch, since a drift is not seen in its beginning. The hash
    of both is over that epoch. ``note`` says what the table leaves out, which holds for classes beyond 100 too.
    Empty where all is iid, and dealt as it comes.
    """
    if (settings.draw, settings.split, settings.dealing) == ("iid", "iid", "shuffled"):
        return {}
    own = owners(settings, labels)
    if own is not None:
        return _told(settings, own, labels, classes, "rank", own[:RANKS])
    order = epochs(settings, labels)(0)
    parts = order.reshape(len(order), -1, settings.ranks).transpose(0, 2, 1)  # [steps, ranks, local]
    by_part = list(parts.reshape(-1, parts.shape[2]))
    if settings.dealing != "shuffled":
        return _told(settings, by_part, labels, classes, "part", by_part[: min(PARTS, STEPS * settings.ranks)])
    spread = np.unique(np.linspace(0, len(order) - 1, PARTS).astype(int))
    return _told(settings, list(order), labels, classes, "step", list(order[spread]))


def _told(
    settings: AccuracySettings,
    every: Sequence[Indices],
    labels: Indices,
    classes: int,
    row: str,
    shown: Sequence[Indices],
) -> dict[str, Any]:
    """Hash ``every`` row, and count the classes of those that are ``shown``."""
    digest = hashlib.sha256(f"{settings.draw} {settings.split} {settings.dealing} {settings.ranks}".encode())
    for positions in every:
        digest.update(f" {len(positions)} ".encode() + positions.astype("<i8").tobytes())
    counts = [np.bincount(labels[positions], minlength=classes)[:CLASSES].tolist() for positions in shown]
    told: dict[str, Any] = {"manifest": digest.hexdigest()[:16], "labels": counts, "rows": row}
    left_out = [f"{len(every) - len(shown)} of {len(every)} {row}s"] if len(every) > len(shown) else []
    left_out += [f"{classes - CLASSES} of {classes} classes"] if classes > CLASSES else []
    return told | ({"note": f"left out: {', '.join(left_out)}"} if left_out else {})
