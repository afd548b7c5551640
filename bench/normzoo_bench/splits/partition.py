"""Partitions of labelled samples by flwr-datasets: positions of every rank, in ascending order.

Its partitioners are given the samples shuffled, since they cut runs out of what they are given. They are imported late:
that takes seconds.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
TRIES = 11
"""As often as flwr-datasets draws a partition by itself, where it does."""


class NoPartitionError(ValueError):
    """Every try has left a rank without a sample, or without classes to draw from."""


def by_client(labels: Indices, ranks: int, alpha: float, draw: np.random.Generator) -> list[Indices]:
    """Give ranks equally many samples, each by its own class mix (Hsu et al. 2019, arXiv:1909.06335).

    A rank's mix is drawn from the Dirichlet distribution with ``alpha`` for each class. (Hsu et al. write Dir(α·p) with
    p the classes' shares: of equally large classes, their α is ``alpha`` times their number.) Samples go to ranks one
    by one; a class that is used up leaves all mixes, and so the last samples go where there is room, whatever the mix.
    Below ``alpha`` = 0.1 a mix may be a single class to the last bit; the partitioner cannot go on where that one is
    used up (flwrlabs/flower, issue 4377), and is then tried anew. It takes about 3 seconds for 40,000 samples.

    Raises:
        NoPartitionError: when no try comes to an end.

    """
    sizes = [len(part) for part in np.array_split(labels, ranks)]
    _, kinds = np.unique(labels, return_inverse=True)  # it takes classes to be numbered without a gap
    for _ in range(TRIES):
        asked = {"partition_sizes": sizes, "alpha": alpha, "seed": _seed(draw)}
        try:
            return _owners("InnerDirichletPartitioner", kinds, draw, partition_by="label", shuffle=False, **asked)
        except NoPartitionError as error:
            failed = error
    raise failed


def by_class(labels: Indices, ranks: int, alpha: float, draw: np.random.Generator) -> list[Indices]:
    """Deal each class over ranks by shares of its own (NIID-Bench, Li et al. 2021, arXiv:2102.02079).

    Shares are drawn from the Dirichlet distribution with ``alpha`` for each rank, as the paper has it. (Its code also
    stops giving to ranks that have their average, which flwr-datasets calls self-balancing, and requires 10 samples of
    each rank; here it is 1.)

    Raises:
        NoPartitionError: when each try leaves a rank without a sample.

    """
    asked = {"num_partitions": ranks, "alpha": alpha, "min_partition_size": 1, "self_balancing": False}
    return _owners("DirichletPartitioner", labels, draw, partition_by="label", shuffle=False, seed=_seed(draw), **asked)


def shards(labels: Indices, ranks: int, k: int, draw: np.random.Generator) -> list[Indices]:
    """Sort by label, cut into ranks · k shards of one size, and give each rank k of them (arXiv:1602.05629, section 3).

    What is left over, fewer samples than there are shards, is drawn evenly, and belongs to nobody.
    """
    used = np.sort(draw.permutation(len(labels))[: len(labels) // (ranks * k) * ranks * k])
    asked = {"num_partitions": ranks, "num_shards_per_partition": k, "seed": _seed(draw)}
    own = _owners("ShardPartitioner", labels[used], draw, partition_by="label", shuffle=False, **asked)
    return [used[positions] for positions in own]


def quantity(labels: Indices, ranks: int, alpha: float, draw: np.random.Generator) -> list[Indices]:
    """Give ranks samples of any label, how many by shares of them all (NIID-Bench, quantity skew).

    The shares are drawn from the Dirichlet distribution with ``alpha`` for each rank.

    Raises:
        NoPartitionError: when each try leaves a rank without a sample.

    """
    for _ in range(TRIES):
        ends = (np.cumsum(draw.dirichlet(np.full(ranks, alpha))) * len(labels)).astype(int)
        ends[-1] = len(labels)  # a sum of shares may fall short of 1 by a bit
        sizes = np.diff(ends, prepend=0).tolist()
        if min(sizes) > 0:
            return _owners("SizePartitioner", labels, draw, partition_sizes=sizes)
    raise NoPartitionError


def _seed(draw: np.random.Generator) -> int:
    return int(draw.integers(2**32))


def _owners(kind: str, labels: Indices, draw: np.random.Generator, **options: Any) -> list[Indices]:
    """Partition samples by a partitioner of this name; give their positions among ``labels``."""
    mixed = draw.permutation(len(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tries that it repeats, and of what is deprecated below it
        flwr, table = _flwr()
        partitioner = getattr(flwr, kind)(**options)
        partitioner.dataset = table({"label": labels[mixed], "position": mixed})
        try:
            count = partitioner.num_partitions
        except ValueError as error:
            raise NoPartitionError(str(error)) from error
        return [np.sort(partitioner.load_partition(rank)["position"]) for rank in range(count)]


@functools.cache
def _flwr() -> tuple[Any, Callable[[dict[str, Indices]], Any]]:
    """Import the partitioners; give them, and what makes a table for them."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # read when it is imported
    import datasets
    from flwr_datasets import partitioner

    class Table(datasets.Dataset):  # type: ignore[misc]  # datasets has no types
        """Gives columns and rows from memory: read and hashed one by one, 40,000 rows take most of a second."""

        def __getitem__(self, key: Any) -> Any:
            return self.data.column(key).to_numpy() if isinstance(key, str) else super().__getitem__(key)

        def select(self, indices: Any, **_: Any) -> Table:
            picked = np.asarray(indices, np.int64)
            made: Table = Table.from_dict({name: self[name][picked] for name in self.column_names})
            return made

    return partitioner, Table.from_dict
