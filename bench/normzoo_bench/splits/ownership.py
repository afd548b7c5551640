"""Which rank owns which samples of the training part, whatever a step takes of them."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from normzoo_bench.errors import UsageError
from normzoo_bench.options import Known, number, read, whole, word
from normzoo_bench.seeds import stream
from normzoo_bench.splits import partition
from normzoo_suites.settings import AccuracySettings

Indices = NDArray[np.int64]

ALL = "all"
_ALPHA = {"alpha": number(0.1, most=1e6)}
SPLITS: Known = {
    "iid": {},
    "exclusive_classes": {},
    "shards": {"k": whole(2)},
    "dirichlet_by_client": _ALPHA,
    "dirichlet_by_class": _ALPHA,
    "quantity": {"alpha": number(0.5, most=1e6)},
    "features": {"kind": word(ALL, "rotation", "inversion", "noise", "blur")},
}


def owners(settings: AccuracySettings, labels: Indices) -> list[Indices] | None:
    """Give each rank's samples, positions in ascending order; None where any rank may have any sample.

    ``exclusive_classes``: see below. ``shards(k=2)``, ``dirichlet_by_client(alpha=0.1)``,
    ``dirichlet_by_class(alpha=0.1)`` and ``quantity(alpha=0.5)``: see ``partition``. ``features``: equally many, drawn.
    Each step takes equally many samples of every rank all the same, so that those of a rank that owns few come up more
    often. Owners follow from the seed, the labels and the number of ranks alone.

    Raises:
        UsageError: when the partitioner leaves a rank without a sample in each of its tries.

    """
    call = read("split", settings.split, SPLITS)
    if call.name == "iid":
        return None
    try:
        return list(_owners(settings.split, settings.ranks, settings.seed, _content(labels)))
    except partition.NoPartitionError as error:
        raise UsageError(
            f"split {settings.split} leaves one of {settings.ranks} ranks without the samples that it should have, in "
            f"each of {partition.TRIES} tries (seed {settings.seed}, {len(labels)} training samples); "
            f"here works {_possible(settings, labels)}"
        ) from error


def owner_of(settings: AccuracySettings, labels: Indices) -> Indices | None:
    """Give the rank that owns each sample, [n], −1 where none does; None where any rank may have any sample."""
    own = owners(settings, labels)
    if own is None:
        return None
    ranks = np.full(len(labels), -1)
    for rank, positions in enumerate(own):
        ranks[positions] = rank
    return ranks


def may_fail(settings: AccuracySettings) -> bool:
    """Tell whether only a try shows that a split leaves no rank without a sample.

    A partition by clients takes seconds, and from ``alpha`` = 0.02 on at most every fourth failed where it was tried
    (2 to 100 classes and ranks), all of its tries thus one in millions.
    """
    call = read("split", settings.split, SPLITS)
    by_client = call.name == "dirichlet_by_client" and call.options["alpha"] < 0.02
    return by_client or call.name in ("dirichlet_by_class", "quantity")


def _content(labels: Indices) -> bytes:
    return labels.astype(np.int64).tobytes()


@functools.lru_cache(maxsize=4)  # one training asks several times, and the slowest partition takes seconds
def _owners(split: str, ranks: int, seed: int, content: bytes) -> tuple[Indices, ...]:
    labels = np.frombuffer(content, np.int64)
    call = read("split", split, SPLITS)
    draw = stream(seed, f"split {call.name}")
    if call.name == "exclusive_classes":
        own = _exclusive_classes(labels, ranks)
    elif call.name == "features":
        own = [np.sort(part) for part in np.array_split(draw.permutation(len(labels)), ranks)]
    elif call.name == "shards":
        own = partition.shards(labels, ranks, int(call.options["k"]), draw)
    else:
        made = {
            "dirichlet_by_client": partition.by_client,
            "dirichlet_by_class": partition.by_class,
            "quantity": partition.quantity,
        }
        own = made[call.name](labels, ranks, float(call.options["alpha"]), draw)
    for positions in own:
        positions.flags.writeable = False  # every asker has the same
    return tuple(own)


def _exclusive_classes(labels: Indices, ranks: int) -> list[Indices]:
    """Give every rank the samples of its own classes, neighbours in number: 10 classes on 5 ranks are two each.

    Where ranks do not divide the classes, the first ranks own one class more. As every rank contributes equally many
    samples to a step all the same, training then sees a class of a larger group less often than the data has it: 10
    classes on 4 ranks come up with 1/12 for each of six and 1/8 for each of four. The test part stays as it is, so
    compare normalizers under one such split, not such a split with iid.
    """
    own = np.array_split(np.unique(labels), ranks)
    return [np.flatnonzero(np.isin(labels, classes)) for classes in own]


def _possible(settings: AccuracySettings, labels: Indices) -> str:
    """Say which larger ``alpha``, and which fewer ranks, come to a partition under the same seed."""
    call = read("split", settings.split, SPLITS)
    larger = [one for one in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100) if one > call.options["alpha"]]
    fewer = [one for one in range(settings.ranks - 1, 1, -1) if settings.batch_size % one == 0]
    changes = (
        [("split", f"{call.name}(alpha={one:g})") for one in larger],
        [("ranks", one) for one in fewer] if call.name != "dirichlet_by_client" else [],  # a try takes seconds
    )
    works = [
        next((one for one in some if _works(settings.model_copy(update=dict([one])), labels)), None) for some in changes
    ]
    return " or ".join(f"{key}={value}" for key, value in filter(None, works)) or "more train_samples"


def _works(settings: AccuracySettings, labels: Indices) -> bool:
    if not may_fail(settings):
        return True
    try:
        _owners(settings.split, settings.ranks, settings.seed, _content(labels))
    except partition.NoPartitionError:
        return False
    return True
