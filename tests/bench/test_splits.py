"""Steps of an epoch, and what of draws, splits and dealings is refused before training."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from normzoo_bench import checks, data, splits
from normzoo_bench.errors import UsageError
from normzoo_suites import Cell

LABELS = np.repeat(np.arange(10), 40)
SETTINGS = [
    {"draw": "balanced"},
    {"draw": "classes(k=3)"},
    {"draw": "class_ordered"},
    {"draw": "drifting"},
    {"split": "exclusive_classes"},
    {"split": "shards"},
    {"split": "dirichlet_by_client"},
    {"split": "dirichlet_by_class"},
    {"split": "quantity"},
    {"split": "features"},
    {"dealing": "by_class"},
    {"dealing": "classes(k=2)"},
    {"dealing": "dirichlet"},
    {"draw": "balanced", "dealing": "classes(k=2)"},
]


def ranks_of(order, ranks):
    """[steps, ranks, local]: position i of a step belongs to rank i mod ranks."""
    return order.reshape(len(order), -1, ranks).transpose(0, 2, 1)


def check(settings, labels=LABELS):
    splits.check(settings, lambda: labels)


def test_an_iid_epoch_visits_every_sample_once_but_for_the_dropped_rest(settings):
    order = splits.epochs(settings(batch_size=30), LABELS)(0)
    assert order.shape == (13, 30)
    assert len(np.unique(order)) == 390


@pytest.mark.parametrize("changes", [{}, *SETTINGS])
def test_an_epoch_is_the_same_under_its_seed_and_another_under_another(settings, changes):
    def epoch(seed, number):
        return splits.epochs(settings(ranks=5, seed=seed, **changes), LABELS)(number)

    assert np.array_equal(epoch(1, 0), epoch(1, 0))
    assert not np.array_equal(epoch(1, 0), epoch(2, 0))
    assert not np.array_equal(epoch(1, 0), epoch(1, 1))


@pytest.mark.parametrize("changes", [{}, *({"draw": one["draw"]} for one in SETTINGS if "draw" in one)])
def test_the_order_does_not_depend_on_normalizer_or_ranks(settings, changes):
    orders = [
        splits.epochs(settings(normalizer=n, ranks=r, **changes), LABELS)(0)
        for n, r in (("batch_norm", 5), ("group_norm", 1))
    ]
    assert np.array_equal(*orders)


@pytest.mark.parametrize("changes", [one for one in SETTINGS if "split" in one])
def test_every_step_takes_equally_many_samples_of_every_rank_from_what_it_owns(settings, changes):
    given = settings(ranks=5, **changes)
    by_rank = ranks_of(splits.epochs(given, LABELS)(0), 5)
    assert by_rank.shape == (10, 5, 8)
    for rank, own in enumerate(splits.owners(given, LABELS)):
        assert np.isin(by_rank[:, rank], own).all()


def test_with_exclusive_classes_no_class_is_on_two_ranks_and_every_step_is_balanced(settings):
    order = splits.epochs(settings(ranks=5, split="exclusive_classes"), LABELS)(0)
    by_rank = ranks_of(LABELS[order], 5)
    for rank in range(5):
        assert set(by_rank[:, rank].flatten()) == {2 * rank, 2 * rank + 1}


def test_a_rank_with_few_samples_goes_through_them_again_before_any_is_left_out(settings):
    labels = np.array([0] * 30 + [1] * 90)
    order = splits.epochs(settings(ranks=2, batch_size=40, split="exclusive_classes"), labels)(0)
    few = ranks_of(order, 2)[:, 0].flatten()
    assert len(few) == 60
    assert np.bincount(few).tolist() == [2] * 30


def test_where_ranks_do_not_divide_the_classes_each_rank_still_gives_its_share(settings):
    """As the docstring of the split says: 1/12 for each of six classes, 1/8 for each of four."""
    epoch = splits.epochs(settings(ranks=4, split="exclusive_classes"), LABELS)
    seen = np.concatenate([LABELS[epoch(number)].flatten() for number in range(20)])
    assert np.bincount(seen) / len(seen) == pytest.approx([1 / 12] * 6 + [1 / 8] * 4, abs=0.01)


@pytest.mark.parametrize("changes", [{}, *SETTINGS])
def test_what_fits_is_let_through(settings, changes):
    check(settings(ranks=5, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draw": "balansed"}, r"unknown draw 'balansed'; did you mean 'balanced'"),
        ({"split": "exclusive_clases"}, "unknown split .*did you mean 'exclusive_classes'"),
        ({"dealing": "by_clas"}, "unknown dealing .*did you mean 'by_class'"),
        ({"split": "iid(alpha=1)"}, r"split iid has no options, got iid\(alpha=1\)"),
        ({"split": "shards(n=2)"}, "unknown option 'n' of the split shards; known: k"),
        ({"split": "quantity(alpha=0)"}, r"alpha of the split quantity must be a number above 0 up to 1e\+06, got 0"),
        ({"split": "dirichlet_by_client(alpha=-1)"}, "alpha of the split dirichlet_by_client must .*, got -1"),
        ({"split": "dirichlet_by_class(alpha=true)"}, "must be a number above 0 .*, got true"),
        ({"dealing": "dirichlet(alpha=none)"}, "alpha of the dealing dirichlet must be .*, got 'none'"),
        ({"split": "shards(k=0)"}, "k of the split shards must be a whole number from 1, got 0"),
        ({"draw": "classes(k=1.5)"}, "k of the draw classes must be a whole number from 1, got 1.5"),
        ({"draw": "drifting(width=2)"}, "width of the draw drifting must be a number above 0 up to 1, got 2"),
        ({"split": "features(kind=hue)"}, "must be one of all, rotation, inversion, noise, blur, got 'hue'"),
        ({"split": "exclusive_classes", "ranks": 20}, "use at most 10 ranks"),
        ({"split": "exclusive_classes", "ranks": 5, "dealing": "by_class"}, "needs split iid, .*one thing at a time"),
        ({"split": "shards", "draw": "balanced"}, "draw balanced needs split iid, got shards"),
        ({"draw": "class_ordered", "dealing": "by_class"}, "dealing by_class needs draw iid or balanced, got class_or"),
        ({"draw": "classes(k=11)"}, r"classes\(k=11\) cannot be had of 10 classes .*use k from 1 to 10"),
        ({"draw": "classes(k=5)", "batch_size": 4}, r"in steps of 4; use k from 1 to 4"),
        ({"dealing": "classes(k=3)", "ranks": 5}, r"divides the 8 samples of a rank's part .*use one of 1, 2, 4, 8$"),
        ({"dealing": "classes(k=40)"}, r"at most the 10 classes .*; use one of 1, 2, 4, 5, 8, 10$"),
        ({"split": "shards(k=100)", "ranks": 5}, r"400 training samples into 5 · 100 shards.*use k from 1 to 80"),
        ({"split": "quantity", "ranks": 500, "batch_size": 500}, "500 ranks cannot share 400 .*at most 400 ranks"),
        ({"split": "features", "ranks": 5, "data": "stream"}, 'needs data = "resident", got "stream"'),
    ],
)  # fmt: skip
def test_what_cannot_be_says_what_can(settings, changes, message):
    with pytest.raises(UsageError, match=message):
        check(settings(**changes))


def test_ranks_may_be_as_many_as_the_classes_that_are_present_and_no_more(settings):
    few = settings(split="exclusive_classes", ranks=4, seed=3, train_samples=40)
    check(few, LABELS[LABELS < 4])
    with pytest.raises(
        UsageError, match=r"4 ranks cannot own the 3 classes .*seed 3, train_samples 40.*at most 3 ranks"
    ):
        check(few, LABELS[LABELS < 3])


@pytest.mark.parametrize(
    ("split", "ranks"),
    [("quantity(alpha=0.1)", 20), ("dirichlet_by_class(alpha=0.001)", 20), ("dirichlet_by_class(alpha=0.1)", 40)],
)
def test_a_partition_that_leaves_a_rank_empty_is_refused_with_alpha_and_ranks_that_work(settings, split, ranks):
    asked = settings(split=split, ranks=ranks, seed=2)
    with pytest.raises(UsageError, match=r"in each of 11 tries \(seed 2, 400 training samples\)") as raised:
        check(asked)
    found = re.search(r"here works split=(\S+) or ranks=(\d+)$", str(raised.value))
    check(asked.model_copy(update={"split": found[1]}))
    assert int(found[2]) > 1
    check(asked.model_copy(update={"ranks": int(found[2])}))


def test_a_class_mix_that_cannot_go_on_is_refused_with_an_alpha_that_works(settings):
    """A mix of one class, of which there are not enough samples (flwrlabs/flower, issue 4377)."""
    asked = settings(split="dirichlet_by_client(alpha=1e-09)", ranks=5, batch_size=10)
    with pytest.raises(UsageError, match=r"in each of 11 tries .*here works split=dirichlet_by_client\(alpha=0.02\)$"):
        check(asked, LABELS[::8])
    assert splits.owners(asked.model_copy(update={"split": "dirichlet_by_client(alpha=0.02)"}), LABELS[::8])


def test_a_split_is_tried_once_for_all_normalizers_that_share_it(settings, monkeypatch):
    tried = []
    monkeypatch.setattr(splits, "check", lambda given, labels: tried.append((given.seed, len(labels()))))
    cells = [
        Cell("accuracy", 1, settings(normalizer=n, seed=s, ranks=5, split="quantity"))
        for n in ("batch_norm", "group_norm")
        for s in (0, 1)
    ]
    checks.check_data(cells, {"digits": data.Source("digits", "digits", {})})
    assert tried == [(0, 1437), (1, 1437)]


def test_an_impossible_split_is_refused_before_training(settings):
    cell = Cell("accuracy", 1, settings(dealing="classes(k=3)", ranks=5))
    with pytest.raises(UsageError, match="use one of 1, 2, 4, 8"):
        checks.check_data([cell], {"digits": data.Source("digits", "digits", {})})


def test_labels_of_a_training_part_are_those_of_its_images(digits):
    for asked in ((3, "all"), (3, 100), (3, 100, "validation")):
        assert np.array_equal(digits.trained_labels(*asked), digits.parts(*asked)[0].labels.numpy())


def test_what_takes_seconds_to_import_is_imported_late():
    for file in Path(splits.__file__).parent.glob("*.py"):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        named = ast.unparse([node for node in body if isinstance(node, ast.Import | ast.ImportFrom)])
        assert not re.search(r"\b(datasets|flwr_datasets|torchvision)\b", named), file.name
