"""Who owns which data across ranks: each split against its published definition."""

from __future__ import annotations

import os

import numpy as np
import pytest

from normzoo_bench import splits
from normzoo_bench.splits import partition

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 60))
SPLITS = [
    "exclusive_classes",
    "shards(k=2)",
    "dirichlet_by_client(alpha=0.1)",
    "dirichlet_by_client(alpha=0.03)",
    "dirichlet_by_class(alpha=0.1)",
    "quantity(alpha=0.5)",
    "features",
    "features(kind=blur)",
]


def owned(settings, split, labels=LABELS, ranks=10, **changes):
    return splits.owners(settings(split=split, ranks=ranks, batch_size=ranks, **changes), labels)


def shares(own, labels=LABELS):
    """Counts by rank and class, [ranks, classes]."""
    return np.stack([np.bincount(labels[positions], minlength=labels.max() + 1) for positions in own])


def test_iid_data_has_no_owners(settings):
    assert owned(settings, "iid") is None
    assert splits.owner_of(settings(ranks=5), LABELS) is None


@pytest.mark.parametrize("split", SPLITS)
def test_every_sample_has_one_owner_and_every_rank_a_sample(settings, split):
    own = owned(settings, split)
    assert len(own) == 10
    assert min(map(len, own)) > 0
    assert np.array_equal(np.sort(np.concatenate(own)), np.arange(600))
    owner = splits.owner_of(settings(split=split, ranks=10), LABELS)
    assert all((owner[positions] == rank).all() for rank, positions in enumerate(own))


@pytest.mark.parametrize("split", SPLITS)
def test_owners_follow_from_the_seed_alone(settings, split):
    first = owned(settings, split, seed=5)
    again = owned(settings, split, seed=5, normalizer="group_norm", epochs=3, learning_rate=0.5)
    assert all(map(np.array_equal, first, again))
    other = owned(settings, split, seed=6)
    assert all(map(np.array_equal, first, other)) == (split == "exclusive_classes")


@pytest.mark.parametrize("split", SPLITS[1:])
def test_labels_that_leave_numbers_out_are_partitioned_as_well(settings, split):
    own = owned(settings, split, labels=3 * LABELS + 2)
    assert sum(map(len, own)) == 600


def test_shards_are_as_mcmahan_et_al_have_them(settings):
    """arXiv:1602.05629, section 3: sorted by digit, 2 of 200 equally large shards for each of 100 clients."""
    counts = shares(owned(settings, "shards(k=2)", ranks=100))
    assert (counts.sum(1) == 6).all()
    assert np.isin(counts, [0, 3, 6]).all()  # 20 shards of 3 in each class
    assert 1 < np.count_nonzero(counts, axis=1).mean() < 2


def test_what_shards_leave_over_is_drawn_from_all_and_belongs_to_nobody(settings):
    given = settings(split="shards(k=7)", ranks=10, batch_size=10)
    owner = splits.owner_of(given, LABELS)
    assert np.bincount(owner + 1).tolist() == [600 % 70] + [56] * 10
    assert len(np.unique(LABELS[owner == -1])) > 5


def test_by_client_ranks_own_equally_many_and_each_has_a_class_mix_of_its_own(settings):
    """The mean of squared shares of Dirichlet(α) over K classes is (1 + α) / (1 + K α), here 1/4.

    Classes that are used up make it a little less.
    """
    own = [shares(owned(settings, "dirichlet_by_client(alpha=0.5)", seed=seed)) for seed in range(10)]
    assert all((counts.sum(1) == 60).all() for counts in own)
    mixed = np.mean([((counts / 60) ** 2).sum(1).mean() for counts in own])
    assert mixed == pytest.approx(0.25, abs=0.05)


def test_by_client_sizes_differ_by_one_where_ranks_do_not_divide_the_samples(settings):
    assert sorted(map(len, owned(settings, "dirichlet_by_client", ranks=7))) == [85, 85, 86, 86, 86, 86, 86]


def test_by_class_every_class_is_dealt_over_ranks_by_shares_of_its_own(settings):
    """NIID-Bench: p_k ~ Dirichlet(β) over W parties; the mean of squared shares is (1 + β) / (1 + W β), here 1/4.

    A rank's share of everything is a mean of 10 of these, independent of each other: 1/10 + 0.15/10 in squares.
    """
    own = [shares(owned(settings, "dirichlet_by_class(alpha=0.5)", seed=seed)) for seed in range(20)]
    mixed = np.mean([((counts / 60) ** 2).sum(0).mean() for counts in own])
    assert mixed == pytest.approx(0.25, abs=0.03)
    assert np.mean([((counts.sum(1) / 600) ** 2).sum() for counts in own]) == pytest.approx(0.115, abs=0.004)


def test_the_two_dirichlet_splits_are_two_things(settings):
    """Nearly at α = 0, each rank has its own few classes by client, and each class its one rank by class."""
    by_client = shares(owned(settings, "dirichlet_by_client(alpha=0.02)", ranks=2))
    by_class = shares(owned(settings, "dirichlet_by_class(alpha=0.02)", ranks=2, seed=1))
    assert (by_client.sum(1) == 300).all()
    assert np.count_nonzero(np.minimum(*by_class)) <= 2
    assert by_class.sum(1).tolist() != [300, 300]


def test_with_quantity_skew_ranks_differ_in_how_many_they_own_and_not_in_their_labels(settings):
    """NIID-Bench: q ~ Dirichlet(β) over W parties; the mean of squared shares is (1 + β) / (1 + W β), here 1/4.

    Partitions with an empty rank are drawn again, which leaves the more even ones. Data may be stored class by class.
    """
    stored = np.sort(LABELS)
    own = [shares(owned(settings, "quantity(alpha=0.5)", stored, seed=seed), stored) for seed in range(30)]
    sizes = np.stack([counts.sum(1) for counts in own]) / 600
    assert (sizes**2).sum(1).mean() == pytest.approx(0.25, abs=0.04)
    assert all((counts[counts.sum(1) > 150] > 0).all() for counts in own)


def test_with_feature_shift_ranks_own_equally_many_of_every_label(settings):
    counts = shares(owned(settings, "features", ranks=6))
    assert (counts.sum(1) == 100).all()
    assert counts.min() >= 2


def test_owners_are_not_to_be_written_to(settings):
    with pytest.raises(ValueError, match="read-only"):
        owned(settings, "quantity")[0][:] = 0


@pytest.mark.parametrize(("own", "then"), [(None, "0"), ("1", "1")])
def test_the_partitioners_send_nothing_unless_the_user_has_said_so(monkeypatch, own, then):
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", own or "")
    if own is None:
        monkeypatch.delenv("FLWR_TELEMETRY_ENABLED")
    partition._flwr.cache_clear()
    partition._flwr()
    assert os.environ["FLWR_TELEMETRY_ENABLED"] == then
