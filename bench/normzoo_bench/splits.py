"""Which samples make up a step, and which rank has which: batch position i belongs to rank i mod ranks.

``split`` says who owns which data across ranks; ``dealing`` how one step's samples, drawn iid, are dealt to the ranks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from normzoo_bench.errors import UsageError
from normzoo_bench.seeds import stream
from normzoo_suites import parse_call
from normzoo_suites.errors import suggest
from normzoo_suites.settings import AccuracySettings

Indices = NDArray[np.int64]
"""[steps, batch_size], positions in the training part."""


def epochs(settings: AccuracySettings, labels: Indices) -> Callable[[int], Indices]:
    """Give a function from an epoch's number to its steps; the last partial batch is dropped."""
    owners = _SPLITS[parse_call(settings.split).name](settings, labels)
    deal = _DEALINGS[parse_call(settings.dealing).name]
    steps = len(labels) // settings.batch_size

    def epoch(number: int) -> Indices:
        draw = stream(settings.seed, f"order of epoch {number}")
        if owners is None:
            order = draw.permutation(len(labels))[: steps * settings.batch_size].reshape(steps, settings.batch_size)
        else:
            order = _balanced(owners, steps, settings.batch_size // settings.ranks, draw)
        return deal(order, labels, settings.ranks)

    return epoch


def check(settings: AccuracySettings, present: int) -> None:
    """Require a split and a dealing that exist and fit the data.

    Args:
        settings: of one cell.
        present: how many classes occur in its training part, which may be fewer than the data set has.

    Raises:
        UsageError: otherwise.

    """
    for kind, text, known in (("split", settings.split, _SPLITS), ("dealing", settings.dealing, _DEALINGS)):
        call = parse_call(text)
        if call.name not in known:
            raise UsageError(f"unknown {kind} {call.name!r}; {suggest(call.name, known)}")
        if call.options:
            raise UsageError(f"{kind} {call.name} has no options, got {text}")
    if settings.split != "iid" and settings.dealing != "shuffled":
        raise UsageError(f"dealing {settings.dealing} needs split iid, got {settings.split}: one thing at a time")
    if settings.split == "exclusive_classes" and settings.ranks > present:
        raise UsageError(
            f"{settings.ranks} ranks cannot own the {present} classes of the training part (seed {settings.seed}, "
            f"train_samples {settings.train_samples}) exclusively; use at most {present} ranks, or more train_samples"
        )


def _iid(_settings: AccuracySettings, _labels: Indices) -> None:
    return None


def _exclusive_classes(settings: AccuracySettings, labels: Indices) -> list[Indices]:
    """Give every rank the samples of its own classes, neighbours in number: 10 classes on 5 ranks are two each.

    Where ranks do not divide the classes, the first ranks own one class more. As every rank contributes equally many
    samples to a step all the same, training then sees a class of a larger group less often than the data has it: 10
    classes on 4 ranks come up with 1/12 for each of six and 1/8 for each of four. The test part stays as it is, so
    compare normalizers under one such split, not such a split with iid.
    """
    own = np.array_split(np.unique(labels), settings.ranks)
    return [np.flatnonzero(np.isin(labels, classes)) for classes in own]


def _balanced(owners: list[Indices], steps: int, local: int, draw: np.random.Generator) -> Indices:
    """Draw ``local`` samples a step from each rank; a rank with fewer than it needs goes through them again."""
    ranks = []
    for own in owners:
        rounds = -(-steps * local // len(own))
        mixed = np.concatenate([draw.permutation(own) for _ in range(rounds)])
        ranks.append(mixed[: steps * local].reshape(steps, local))
    return np.stack(ranks, axis=2).reshape(steps, local * len(owners))  # position i is rank i mod ranks


def _shuffled(order: Indices, _labels: Indices, _ranks: int) -> Indices:
    return order


def _by_class(order: Indices, labels: Indices, ranks: int) -> Indices:
    """Sort every step by label and deal it in blocks, so that a rank's part holds neighbouring classes."""
    by_label = np.argsort(labels[order], axis=1, kind="stable")
    ordered = np.take_along_axis(order, by_label, axis=1)
    blocks = ordered.reshape(len(order), ranks, -1)  # [steps, ranks, local]
    return blocks.transpose(0, 2, 1).reshape(order.shape)


_SPLITS: dict[str, Callable[[AccuracySettings, Indices], list[Indices] | None]] = {
    "iid": _iid,
    "exclusive_classes": _exclusive_classes,
}
_DEALINGS: dict[str, Callable[[Indices, Indices, int], Indices]] = {"shuffled": _shuffled, "by_class": _by_class}
