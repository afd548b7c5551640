"""What of draws, splits and dealings can be known to be wrong before anything is trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from normzoo_bench.errors import UsageError
from normzoo_bench.options import read
from normzoo_bench.splits.dealing import DEALINGS
from normzoo_bench.splits.draw import DRAWS, ORDERS
from normzoo_bench.splits.ownership import SPLITS, may_fail, owners
from normzoo_suites.settings import AccuracySettings

Indices = NDArray[np.int64]


def check(settings: AccuracySettings, labels: Callable[[], Indices]) -> None:
    """Require a draw, a split and a dealing that exist, go together and fit the data.

    Args:
        settings: of one cell.
        labels: gives those of its training part; asked for only where it matters.

    Raises:
        UsageError: otherwise, with what would work.

    """
    for kind, text, known in (
        ("draw", settings.draw, DRAWS),
        ("split", settings.split, SPLITS),
        ("dealing", settings.dealing, DEALINGS),
    ):
        read(kind, text, known)
    _check_one_thing(settings)
    if (settings.draw, settings.split, settings.dealing) == ("iid", "iid", "shuffled"):
        return
    present = len(np.unique(labels()))
    _check_classes(settings, present)
    if settings.split != "iid":
        _check_owners(settings, labels(), present)
    _check_ranks(settings)


def check_order(text: str) -> None:
    """Require an order of a stream that exists, with options that it takes; raises UsageError."""
    read("stream", text, ORDERS)


def _check_one_thing(settings: AccuracySettings) -> None:
    draw, split, dealing = settings.draw, settings.split, settings.dealing
    if split != "iid" and dealing != "shuffled":
        raise UsageError(f"dealing {dealing} needs split iid, got {split}: one thing at a time")
    if split != "iid" and draw != "iid":
        raise UsageError(f"draw {draw} needs split iid, got {split}: one thing at a time")
    if dealing != "shuffled" and draw not in ("iid", "balanced"):
        raise UsageError(f"dealing {dealing} needs draw iid or balanced, got {draw}: one thing at a time")
    if split.startswith("features") and settings.data == "stream":
        raise UsageError(f'split {split} shifts images before training, which needs data = "resident", got "stream"')


def _check_ranks(settings: AccuracySettings) -> None:
    """Require several ranks where data is split, or a step dealt, over them."""
    for kind, text, plain in (("split", settings.split, "iid"), ("dealing", settings.dealing, "shuffled")):
        if text != plain and settings.ranks == 1:
            raise UsageError(
                f"{kind} {text} is of several ranks, and ranks is 1; give ranks=2 or more, each of batch_size / ranks "
                f"samples, or {kind}={plain} (for what makes up whole steps there is draw)"
            )


def _check_classes(settings: AccuracySettings, present: int) -> None:
    """Require that steps and parts of k classes can be had of as many as are present."""
    draw, dealing = read("draw", settings.draw, DRAWS), read("dealing", settings.dealing, DEALINGS)
    if draw.name == "classes" and draw.options["k"] > (most := min(present, settings.batch_size)):
        raise UsageError(
            f"draw {settings.draw} cannot be had of {_classes(settings, present)} in steps of {settings.batch_size}; "
            f"use k from 1 to {most}"
        )
    if dealing.name != "classes":
        return
    local = settings.batch_size // settings.ranks
    fit = [k for k in range(1, min(local, present) + 1) if local % k == 0]
    if dealing.options["k"] not in fit:
        raise UsageError(
            f"dealing {settings.dealing} needs a k that divides the {local} samples of a rank's part (batch_size "
            f"{settings.batch_size} over {settings.ranks} ranks) and is at most the {_classes(settings, present)}; "
            f"use one of {', '.join(map(str, fit))}"
        )


def _check_owners(settings: AccuracySettings, labels: Indices, present: int) -> None:
    """Require that every rank gets a sample of its own."""
    split, ranks = read("split", settings.split, SPLITS), settings.ranks
    if ranks > len(labels):
        raise UsageError(
            f"{ranks} ranks cannot share {len(labels)} training samples; use at most {len(labels)} ranks, or more "
            "train_samples"
        )
    if split.name == "exclusive_classes" and ranks > present:
        raise UsageError(
            f"{ranks} ranks cannot own the {_classes(settings, present)} exclusively; use at most {present} ranks, or "
            "more train_samples"
        )
    if split.name == "shards" and ranks * split.options["k"] > len(labels):
        raise UsageError(
            f"split {settings.split} cuts {len(labels)} training samples into {ranks} · {split.options['k']} shards, "
            f"of which each needs one; use k from 1 to {len(labels) // ranks}"
        )
    if may_fail(settings):
        owners(settings, labels)


def _classes(settings: AccuracySettings, present: int) -> str:
    return f"{present} classes of the training part (seed {settings.seed}, train_samples {settings.train_samples})"
