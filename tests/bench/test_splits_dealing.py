"""How a step is dealt: what each part holds, and that the step stays what it is."""

from __future__ import annotations

import numpy as np
import pytest

from normzoo_bench import splits
from normzoo_bench.splits.dealing import _mix

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 96))


def parts_of(settings, labels=LABELS, epoch=0):
    """Labels by step and rank: [steps, ranks, local]."""
    order = splits.epochs(settings, labels)(epoch)
    return labels[order].reshape(len(order), -1, settings.ranks).transpose(0, 2, 1)


def classes_of(parts):
    """Count each part's classes, [steps, ranks]."""
    return np.array([[len(np.unique(part)) for part in step] for step in parts])


@pytest.mark.parametrize("draw", ["iid", "balanced"])
@pytest.mark.parametrize("dealing", ["by_class", "classes(k=2)", "classes(k=8)", "dirichlet", "dirichlet(alpha=5)"])
@pytest.mark.parametrize("ranks", [1, 5, 10])
def test_dealing_keeps_each_steps_samples_and_only_moves_them_between_ranks(settings, dealing, draw, ranks):
    one = {"batch_size": 160 if ranks < 10 else 240, "ranks": ranks, "draw": draw}
    shuffled = splits.epochs(settings(**one), LABELS)(1)
    dealt = splits.epochs(settings(**one, dealing=dealing), LABELS)(1)
    assert np.array_equal(np.sort(shuffled, axis=1), np.sort(dealt, axis=1))


def test_dealt_by_class_a_later_rank_never_has_a_lower_class(settings):
    parts = parts_of(settings(ranks=5, dealing="by_class"))
    assert (parts[:, :-1].max(axis=2) <= parts[:, 1:].min(axis=2)).all()


@pytest.mark.parametrize(
    ("ranks", "local", "classes", "k"),
    [(10, 32, 10, 2), (10, 32, 20, 16), (8, 16, 4, 1), (5, 8, 10, 4), (4, 20, 10, 10)],
    ids=["as the issue has it", "batch renorm's 16 x 2", "one class", "four", "every class"],
)
def test_parts_of_balanced_steps_hold_exactly_k_classes_equally_often(settings, ranks, local, classes, k):
    """With 16 classes of 2 samples each in parts of 32, as in Ioffe 2017, section 4.2."""
    labels = np.repeat(np.arange(classes), 800)  # 20 steps and more: what is dealt badly is so in some only
    given = settings(draw="balanced", dealing=f"classes(k={k})", batch_size=ranks * local, ranks=ranks)
    for part in parts_of(given, labels).reshape(-1, local):
        assert np.unique(part, return_counts=True)[1].tolist() == [local // k] * k


def test_which_classes_come_together_varies(settings):
    parts = parts_of(settings(draw="balanced", dealing="classes(k=2)", batch_size=320, ranks=10))
    pairs = {tuple(np.unique(part)) for step in parts for part in step}
    assert len(pairs) > 15  # of 45, in 30 parts
    later = parts_of(settings(draw="balanced", dealing="classes(k=2)", batch_size=320, ranks=10), epoch=1)
    assert pairs != {tuple(np.unique(part)) for step in later for part in step}


def test_parts_of_iid_steps_hold_k_classes_where_they_can(settings):
    there = classes_of(parts_of(settings(dealing="classes(k=2)", batch_size=320, ranks=10)))
    dealt_out = classes_of(parts_of(settings(batch_size=320, ranks=10)))
    assert np.mean(there == 2) > 0.7
    assert there.mean() < 3 < 9 < dealt_out.mean()


def test_no_rank_is_always_dealt_to_last(settings):
    """Who comes last gets what is left, of many classes."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 800))  # 25 steps
    by_rank = classes_of(parts_of(settings(dealing="classes(k=2)", batch_size=320, ranks=10), labels)).mean(0)
    assert np.ptp(by_rank) < 2.5


def test_the_first_choice_of_a_part_is_a_draw_from_the_dirichlet_distribution():
    """The mean of the squared shares is (1 + α) / (1 + K α), and of each share 1 / K."""
    left = np.full(10, 1000)
    for alpha in (0.1, 1.0):
        wish = _mix(alpha, 100, np.random.default_rng(0))
        shares = np.stack([wish(left)[0] for _ in range(2000)]) / 100
        assert shares.sum(1) == pytest.approx(1)
        assert (shares**2).sum(1).mean() == pytest.approx((1 + alpha) / (1 + 10 * alpha), rel=0.03)
        assert shares.mean(0) == pytest.approx(0.1, abs=0.025)


def test_what_a_class_has_not_left_is_taken_from_those_that_a_part_likes_next(settings):
    """Nearly one class a part is wanted, and each class fills one part: so each part gets one, or shares two."""
    parts = parts_of(settings(draw="balanced", dealing="dirichlet(alpha=0.0001)", batch_size=320, ranks=10))
    assert (classes_of(parts) == 1).all()


def test_dirichlet_parts_are_mixed_as_their_alpha_says(settings):
    def squares(alpha):
        parts = parts_of(settings(draw="balanced", dealing=f"dirichlet(alpha={alpha})", batch_size=320, ranks=10))
        return np.mean(
            [
                (np.bincount(part, minlength=10) / 32) @ (np.bincount(part, minlength=10) / 32)
                for step in parts
                for part in step
            ]
        )

    found = [squares(alpha) for alpha in (0.01, 0.1, 1, 100000)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.7
    assert found[-1] == pytest.approx(0.1, abs=0.01)
