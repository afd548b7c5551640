"""Which samples make up a step: balanced and skewed draws, and the orders of a stream."""

from __future__ import annotations

import numpy as np
import pytest

from normzoo_bench import splits

UNEVEN = np.repeat(np.arange(10), np.arange(20, 120, 10))  # 20 of class 0 to 110 of class 9, 650 in all


def counts(steps, labels=UNEVEN):
    """By step, the count of each class: [steps, classes]."""
    return np.stack([np.bincount(labels[step], minlength=labels.max() + 1) for step in steps])


@pytest.mark.parametrize("batch", [40, 64, 7])
def test_a_balanced_step_has_every_class_equally_often_but_for_one(settings, batch):
    steps = splits.epochs(settings(draw="balanced", batch_size=batch), UNEVEN)(0)
    assert steps.shape == (650 // batch, batch)
    by_step = counts(steps)
    assert (by_step.max(1) - by_step.min(1) <= 1).all()
    assert np.ptp(by_step.sum(0)) <= 1  # nor does the epoch favour a class


def test_a_balanced_epoch_goes_through_a_small_class_again_and_leaves_out_the_rest_of_a_large_one(settings):
    steps = splits.epochs(settings(draw="balanced", batch_size=40), UNEVEN)(0)  # 16 steps of 4 of each class
    seen = np.bincount(steps.ravel(), minlength=650)
    assert set(seen[UNEVEN == 0]) == {3, 4}  # 64 of 20
    assert set(seen[UNEVEN == 9]) == {0, 1}  # 64 of 110


@pytest.mark.parametrize("k", [1, 3, 10])
def test_a_step_of_k_classes_has_these_equally_often_but_for_one(settings, k):
    by_step = counts(splits.epochs(settings(draw=f"classes(k={k})", batch_size=40), UNEVEN)(0))
    assert ((by_step > 0).sum(1) == k).all()
    there = np.where(by_step > 0, by_step, 40 // k)
    assert np.isin(there, [40 // k, -(-40 // k)]).all()


def test_steps_of_k_classes_favour_no_class_and_pair_them_differently(settings):
    steps = splits.epochs(settings(draw="classes(k=2)", batch_size=10), UNEVEN)(0)
    there = counts(steps) > 0
    assert np.ptp(there.sum(0)) <= 1
    assert len(np.unique(there, axis=0)) > 25  # of 45 pairs, in 65 steps


def test_a_class_ordered_epoch_goes_through_one_class_after_the_other(settings):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 40))
    steps = splits.epochs(settings(draw="class_ordered", batch_size=40), labels)(0)
    assert len(np.unique(steps)) == 400
    assert (np.count_nonzero(counts(steps, labels), axis=1) == 1).all()
    assert (labels[steps][:, 0] != np.sort(labels[steps][:, 0])).any()  # in an order that is drawn


@pytest.mark.parametrize("draw", ["class_ordered", "drifting"])
def test_a_skewed_epoch_visits_no_sample_twice_and_deals_each_step_in_any_order(settings, draw):
    steps = splits.epochs(settings(draw=draw, batch_size=64), UNEVEN)(0)
    assert steps.shape == (10, 64)
    assert len(np.unique(steps)) == 640
    mixed = next(labels for labels in UNEVEN[steps] if len(set(labels)) > 1)
    assert np.count_nonzero(np.diff(mixed)) > len(set(mixed))


@pytest.mark.parametrize("text", ["iid", "class_ordered", "drifting", "drifting(width=1)"])
def test_every_sample_stands_in_an_order_once(text):
    order = splits.order(text, UNEVEN, np.random.default_rng(0))
    assert np.array_equal(np.sort(order), np.arange(650))
    assert not np.array_equal(order, splits.order(text, UNEVEN, np.random.default_rng(1)))


def test_a_class_ordered_stream_changes_its_class_as_seldom_as_it_can_and_mixes_within():
    order = splits.order("class_ordered", UNEVEN, np.random.default_rng(0))
    assert np.count_nonzero(np.diff(UNEVEN[order])) == 9
    within = order[UNEVEN[order] == 9]
    assert not np.array_equal(within, np.sort(within))


def test_a_drift_moves_no_sample_further_than_its_width():
    """Its place among samples that are moved by w at most is at most 2 w away, of itself and of those around it."""
    labels = np.arange(1000)  # a class each, so that places are known
    order = splits.order("class_ordered", labels, np.random.default_rng(3))
    drifted = splits.order("drifting(width=0.05)", labels, np.random.default_rng(3))
    moved = np.argsort(drifted)[order] - np.arange(1000)
    assert 50 < np.abs(moved).max() <= 100


def test_a_drifting_label_distribution_moves_slowly_and_ends_elsewhere():
    """By tenths, as total variation: a class-ordered stream of ten classes jumps by 1 between each and the next."""
    labels = np.repeat(np.arange(10), 400)
    tenths = splits.order("drifting(width=0.3)", labels, np.random.default_rng(0)).reshape(10, 400)
    shares = counts(tenths, labels) / 400
    jumps = np.abs(np.diff(shares, axis=0)).sum(1) / 2
    assert jumps.max() < 0.45
    assert shares[0] @ shares[-1] == 0
