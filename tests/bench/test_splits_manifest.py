"""What a record keeps of a split."""

from __future__ import annotations

import re

import numpy as np
import pytest

from normzoo_bench import splits

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 60))


def test_iid_data_dealt_as_it_comes_has_no_manifest(settings):
    assert splits.manifest(settings(ranks=5), LABELS, 10) == {}


@pytest.mark.parametrize("split", ["exclusive_classes", "dirichlet_by_class", "features"])
def test_a_split_is_told_by_every_ranks_labels(settings, split):
    given = settings(split=split, ranks=5)
    told = splits.manifest(given, LABELS, 12)
    own = splits.owners(given, LABELS)
    assert told["rows"] == "rank"
    assert told["labels"] == [np.bincount(LABELS[positions], minlength=12).tolist() for positions in own]
    assert re.fullmatch("[0-9a-f]{16}", told["manifest"])
    assert "note" not in told


def test_a_dealing_is_told_by_the_parts_of_the_first_steps(settings):
    given = settings(dealing="by_class", ranks=5)
    told = splits.manifest(given, LABELS, 10)
    order = splits.epochs(given, LABELS)(0)
    assert told["rows"] == "part"
    assert len(told["labels"]) == 32
    for number, row in enumerate(told["labels"]):
        step, rank = divmod(number, 5)
        assert row == np.bincount(LABELS[order[step, rank::5]], minlength=10).tolist()
    assert told["note"] == "left out: 43 of 75 parts"


def test_a_dealing_to_few_ranks_is_told_by_eight_steps(settings):
    assert len(splits.manifest(settings(dealing="by_class", ranks=2), LABELS, 10)["labels"]) == 16


def test_a_draw_is_told_by_steps_of_the_whole_epoch(settings):
    given = settings(draw="class_ordered", ranks=5, batch_size=10)
    told = splits.manifest(given, LABELS, 10)
    assert told["rows"] == "step"
    assert len(told["labels"]) == 32
    assert {sum(row) for row in told["labels"]} == {10}
    assert len(set(np.argmax(told["labels"], axis=1))) == 10  # every class has been seen
    order = splits.epochs(given, LABELS)(0)
    ends = [told["labels"][0], told["labels"][-1]]
    assert ends == [np.bincount(LABELS[order[step]], minlength=10).tolist() for step in (0, 59)]


def test_large_tables_are_cut_and_say_so(settings):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(150), 4))
    told = splits.manifest(settings(split="features", ranks=128, batch_size=128), labels, 150)
    assert np.shape(told["labels"]) == (64, 100)
    assert told["note"] == "left out: 64 of 128 ranks, 50 of 150 classes"


@pytest.mark.parametrize("changes", [{"split": "quantity"}, {"dealing": "classes"}, {"draw": "drifting"}])
def test_a_manifest_is_the_same_for_the_same_samples_and_another_for_others(settings, changes):
    def manifest(**more):
        return splits.manifest(settings(**{"ranks": 5} | changes | more), LABELS, 10)["manifest"]

    assert manifest() == manifest(normalizer="group_norm", epochs=7)
    assert manifest() != manifest(seed=1)
    assert manifest() != manifest(ranks=4)


def test_a_manifest_tells_apart_what_a_table_of_labels_cannot(settings):
    alike = np.zeros(600, np.int64)
    told = [splits.manifest(settings(split="features", ranks=5, seed=seed), alike, 1) for seed in (0, 1)]
    assert told[0]["labels"] == told[1]["labels"] == [[120]] * 5
    assert told[0]["manifest"] != told[1]["manifest"]
