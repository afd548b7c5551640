"""Splits and dealing: who gets which samples."""

from __future__ import annotations

import numpy as np
import pytest

from normzoo_bench import splits
from normzoo_bench.errors import UsageError

LABELS = np.repeat(np.arange(10), 40)


def ranks_of(order, ranks):
    """[steps, ranks, local]: position i of a step belongs to rank i mod ranks."""
    return order.reshape(len(order), -1, ranks).transpose(0, 2, 1)


def test_an_iid_epoch_visits_every_sample_once_but_for_the_dropped_rest(settings):
    order = splits.epochs(settings(batch_size=30), LABELS)(0)
    assert order.shape == (13, 30)
    assert len(np.unique(order)) == 390


def test_an_epoch_is_the_same_under_its_seed_and_another_under_another(settings):
    def first(**changes):
        return splits.epochs(settings(**changes), LABELS)(0)

    assert np.array_equal(first(seed=1), first(seed=1))
    assert not np.array_equal(first(seed=1), first(seed=2))
    assert not np.array_equal(first(), splits.epochs(settings(), LABELS)(1))


def test_the_order_does_not_depend_on_normalizer_or_ranks(settings):
    orders = [
        splits.epochs(settings(normalizer=n, ranks=r), LABELS)(0) for n, r in (("batch_norm", 5), ("group_norm", 1))
    ]
    assert np.array_equal(*orders)


def test_with_exclusive_classes_no_class_is_on_two_ranks_and_every_step_is_balanced(settings):
    order = splits.epochs(settings(ranks=5, split="exclusive_classes"), LABELS)(0)
    by_rank = ranks_of(LABELS[order], 5)
    assert by_rank.shape == (10, 5, 8)
    for rank in range(5):
        assert set(by_rank[:, rank].flatten()) == {2 * rank, 2 * rank + 1}


def test_a_rank_with_few_samples_goes_through_them_again_before_any_is_left_out(settings):
    labels = np.array([0] * 30 + [1] * 90)
    order = splits.epochs(settings(ranks=2, batch_size=40, split="exclusive_classes"), labels)(0)
    few = ranks_of(order, 2)[:, 0].flatten()
    assert len(few) == 60
    assert np.bincount(few).tolist() == [2] * 30


def test_dealing_by_class_keeps_each_steps_samples_and_only_moves_them_between_ranks(settings):
    shuffled = splits.epochs(settings(ranks=5), LABELS)(0)
    dealt = splits.epochs(settings(ranks=5, dealing="by_class"), LABELS)(0)
    assert np.array_equal(np.sort(shuffled, axis=1), np.sort(dealt, axis=1))
    parts = ranks_of(LABELS[dealt], 5)
    assert (parts[:, :-1].max(axis=2) <= parts[:, 1:].min(axis=2)).all()  # a later rank never has a lower class


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "exclusive_clases"}, "did you mean 'exclusive_classes'"),
        ({"dealing": "by_clas"}, "did you mean 'by_class'"),
        ({"split": "iid(alpha=1)"}, "has no options"),
        ({"split": "exclusive_classes", "ranks": 20}, "use at most 10 ranks"),
        ({"split": "exclusive_classes", "ranks": 5, "dealing": "by_class"}, "needs split iid"),
    ],
)
def test_an_impossible_split_says_what_is_possible(settings, changes, message):
    with pytest.raises(UsageError, match=message):
        splits.check(settings(**changes), present=10)


def test_ranks_may_be_as_many_as_the_classes_that_are_present_and_no_more(settings):
    few = settings(split="exclusive_classes", ranks=4, seed=3, train_samples=40)
    splits.check(few, present=4)
    with pytest.raises(
        UsageError, match=r"4 ranks cannot own the 3 classes .*seed 3, train_samples 40.*at most 3 ranks"
    ):
        splits.check(few, present=3)


def test_where_ranks_do_not_divide_the_classes_each_rank_still_gives_its_share(settings):
    """As the docstring of the split says: 1/12 for each of six classes, 1/8 for each of four."""
    epoch = splits.epochs(settings(ranks=4, split="exclusive_classes"), LABELS)
    seen = np.concatenate([LABELS[epoch(number)].flatten() for number in range(20)])
    assert np.bincount(seen) / len(seen) == pytest.approx([1 / 12] * 6 + [1 / 8] * 4, abs=0.01)
