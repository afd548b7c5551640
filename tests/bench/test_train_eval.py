"""The forgotten eval(), against running statistics written out by hand and readings made elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

import normzoo
from normzoo_bench import accuracy
from normzoo_bench.insights import train_eval
from normzoo_bench.insights.trained import after_training, norm_layers
from normzoo_bench.result import CannotRun, Diverged
from normzoo_bench.training.batchwise import accuracy_by_batch, iid_batches
from normzoo_bench.training.feed import Feed
from normzoo_suites.settings import TrainEvalSettings, training_of

LABELS = np.repeat(np.arange(4), [30, 20, 9, 5])


@pytest.fixture
def asked():
    def build(**changes):
        small = {"normalizer": "batch_norm", "dataset": "digits", "model": "small_convnet", "epochs": 1}
        return TrainEvalSettings.model_validate(small | {"batch_size": 32, "train_samples": 300} | changes)

    return build


@pytest.fixture
def ran(asked, digits):
    """Give a function that trains a cell and gives the run."""
    return lambda **changes: after_training([asked(**changes)], digits, lambda run, one: run)[0]


def constant(value: int, count: int) -> Feed:
    """Images of one pixel that all have one value, which standardization leaves as it is."""
    images = torch.full((count, 1, 1, 1), value, dtype=torch.uint8)
    return Feed(images, torch.zeros(count, dtype=torch.int64), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))


def test_means_that_move_are_told_in_the_deviations_there_were_before_over_all_channels():
    before = [(torch.zeros(2), torch.tensor([1.0, 2.0])), (torch.tensor([5.0]), torch.tensor([10.0]))]
    after = [(torch.tensor([1.0, 2.0]), torch.tensor([9.0, 9.0])), (torch.tensor([25.0]), torch.tensor([9.0]))]
    assert train_eval.moved(before, after) == pytest.approx(((1 + 1 + 4) / 3) ** 0.5)


def test_what_keeps_no_statistics_moves_by_nothing():
    assert train_eval.running([normzoo.create("group_norm", 4)]) == []
    assert train_eval.moved([], []) == 0


@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm", "sync_batch_norm"])
def test_a_layer_tells_its_mean_and_the_root_of_its_variance(name):
    layer = normzoo.create(name, 3)
    layer.set_population(torch.tensor([1.0, 2, 3]), torch.tensor([4.0, 9, 16]), 1000)
    ((mean, deviation),) = train_eval.running([layer])
    assert mean.tolist() == [1, 2, 3]
    assert deviation == pytest.approx([2, 3, 4], rel=1e-3)


def test_batches_of_a_constant_move_the_running_mean_as_the_moving_average_says(asked):
    model = nn.Sequential(nn.Flatten(), normzoo.create("batch_norm", 1, momentum=0.1)).train()
    layers = [model[1]]
    before = train_eval.running(layers)
    batches = train_eval.composed(asked(test_batch_size=2), np.zeros(6, dtype=np.int64))
    train_eval.hits(model, batches, constant(7, 6), training_of(asked()))
    assert model[1].running_mean.item() == pytest.approx(1.897)
    assert train_eval.moved(before, train_eval.running(layers)) == pytest.approx(1.897, rel=1e-4)


@pytest.mark.parametrize("composition", ["iid", "one_class", "class_ordered"])
@pytest.mark.parametrize("size", [1, 7, 16])
def test_every_sample_is_read_once(asked, composition, size):
    batches = train_eval.composed(asked(composition=composition, test_batch_size=size), LABELS)
    assert sorted(torch.cat([index[counts] for index, counts in batches]).tolist()) == list(range(64))
    lengths = [len(index) for index, _ in batches]
    assert set(lengths[:-1]) == {size}
    if composition != "class_ordered":
        assert lengths[-1] == size


def test_what_fills_a_batch_up_is_not_counted(asked):
    model = nn.Sequential(nn.Flatten(), normzoo.create("none", 1))
    batches = train_eval.composed(asked(test_batch_size=4), np.zeros(6, dtype=np.int64))
    assert [len(index) for index, _ in batches] == [4, 4]
    assert len(train_eval.hits(model, batches, constant(7, 6), training_of(asked()))) == 6


def test_batches_of_one_class_are_of_one_class_and_in_no_order_of_classes(asked):
    batches = train_eval.composed(asked(composition="one_class", test_batch_size=4), LABELS)
    classes = [set(LABELS[index.numpy()]) for index, _ in batches]
    assert all(len(one) == 1 for one in classes)
    order = [one.pop() for one in classes]
    assert sorted(order) != order


def test_batches_in_order_of_classes_rise(asked):
    batches = train_eval.composed(asked(composition="class_ordered", test_batch_size=7), LABELS)
    met = LABELS[torch.cat([index for index, _ in batches]).numpy()]
    assert len(np.flatnonzero(np.diff(met))) == 3  # as many changes as there are classes, less one


def test_duplicates_repeat_one_sample_each_and_count_it_once(asked):
    batches = train_eval.composed(asked(composition="duplicates", test_batch_size=5), LABELS)
    assert all(len(set(index.tolist())) == 1 and len(index) == 5 for index, _ in batches)
    assert all(counts.tolist() == [True] + [False] * 4 for _, counts in batches)
    assert sorted(int(index[0]) for index, _ in batches) == list(range(64))
    many = train_eval.composed(asked(composition="duplicates", test_batch_size=2), np.zeros(5000, dtype=np.int64))
    assert len({int(index[0]) for index, _ in many}) == len(many) == train_eval.DUPLICATED


@pytest.mark.parametrize("name", ["group_norm", "layer_norm", "none"])
@pytest.mark.parametrize("changes", [{"test_batch_size": 1}, {"composition": "duplicates", "test_batch_size": 3}])
def test_without_running_statistics_forgetting_changes_nothing_to_the_bit(asked, digits, name, changes):
    (ended,) = train_eval.measure([asked(normalizer=name, **changes)], digits)
    found = ended.metrics
    assert found["forgotten_eval_accuracy"] == found["shifted_accuracy"] == found["eval_accuracy_afterwards"]
    assert found["forgotten_eval_drop"] == found["moved_statistics"] == 0


def test_a_forgotten_eval_reads_batch_norm_as_the_reading_by_batch_statistics_does(ran, asked):
    run = ran(epochs=3)
    found = train_eval._look(run, asked(test_batch_size=8)).metrics
    batches = iid_batches(0, len(run.held), 8)
    other = accuracy_by_batch(run.training.model, batches, run.held, run.settings)
    # many batches at once there, one by one here: floats may tip a sample
    assert found["forgotten_eval_accuracy"] == pytest.approx(other, abs=2 / len(run.held))
    assert found["forgotten_eval_drop"] == found["shifted_accuracy"] - found["forgotten_eval_accuracy"] != 0
    assert found["moved_statistics"] > 0


def test_what_a_forgotten_pass_has_moved_is_what_eval_reads_afterwards(ran, asked):
    """With momentum 1 the last batch's statistics are all that is left."""
    run = ran(normalizer="batch_norm(momentum=1.0)")
    settings = asked(normalizer="batch_norm(momentum=1.0)", composition="class_ordered", test_batch_size=32)
    found = train_eval._look(run, settings).metrics
    model = run.training.model
    kept = {name: one.clone() for name, one in model.state_dict().items()}
    last = train_eval.composed(settings, run.held.labels.numpy())[-1][0]
    model.train()(run.held.batch(last)[0])
    model.eval()
    with torch.no_grad():
        right = [int((model(images).argmax(1) == labels).sum()) for images, labels in [run.held.batch(slice(None))]]
    model.load_state_dict(kept)
    assert found["eval_accuracy_afterwards"] == pytest.approx(right[0] / len(run.held), abs=2 / len(run.held))


def test_dropout_stays_in_eval(ran, asked):
    run = ran(normalizer="group_norm")
    run.training.model = nn.Sequential(run.training.model, nn.Dropout(0.9))
    assert train_eval._look(run, asked(normalizer="group_norm", test_batch_size=8)).metrics["forgotten_eval_drop"] == 0


def test_the_training_is_the_one_that_accuracy_does_to_the_bit_and_looking_leaves_it(ran, asked, digits):
    run, plain = ran(), accuracy.Run(training_of(asked()), digits)
    accuracy.finish(plain)
    train_eval._look(run, asked(test_batch_size=4, shift="noise", strength=5, statistics="recalibrated"))
    expected = plain.training.model.state_dict()
    assert all(torch.equal(one, expected[name]) for name, one in run.training.model.state_dict().items())


@pytest.mark.parametrize("shift", ["noise", "blur", "contrast"])
def test_each_strength_changes_images_more_and_none_leaves_them(ran, asked, shift):
    run = ran(epochs=1)
    shifted = [train_eval._shifted(run.held, asked(shift=shift, strength=step)).images for step in range(6)]
    assert torch.equal(shifted[0], run.held.images)
    far = [(one.float() - run.held.images.float()).square().mean().item() for one in shifted]
    assert far == sorted(set(far))


@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm"])
def test_recalibrated_statistics_are_those_of_the_shifted_images(ran, asked, name):
    run, settings = (
        ran(normalizer=name),
        asked(normalizer=name, shift="contrast", strength=3, statistics="recalibrated"),
    )
    feed = train_eval._shifted(run.held, settings)
    model = train_eval._prepared(run, feed, settings)
    first = norm_layers(model, settings)[0]
    entered = []
    first.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0].double()))
    model(feed.batch(slice(None))[0])
    assert torch.allclose(first.running_mean.double(), entered[0].mean((0, 2, 3)), rtol=1e-4, atol=1e-6)


def test_what_keeps_no_statistics_comes_to_shifted_images_as_it_was(asked, digits):
    shifted = {"normalizer": "group_norm", "shift": "noise", "strength": 3}
    trained, again = train_eval.measure(
        [asked(**shifted, statistics=one) for one in ("trained", "recalibrated")], digits
    )
    assert trained.metrics == again.metrics


def test_cells_that_differ_in_what_is_read_share_a_training_and_give_what_they_give_alone(asked, digits, monkeypatch):
    trained, finish = [], accuracy.finish
    monkeypatch.setattr("normzoo_bench.insights.trained.finish", lambda run: trained.append(finish(run)))
    cells = [asked(test_batch_size=2), asked(composition="one_class"), asked(shift="blur", strength=2)]
    together = train_eval.measure(cells, digits)
    assert len(trained) == 1
    assert [train_eval.measure([one], digits)[0] for one in cells] == together


def test_one_sample_that_a_layer_refuses_is_skipped_with_its_reason_and_leaves_the_others(asked, digits):
    cells = [asked(model="mlp", test_batch_size=size) for size in (1, 2)]
    refused, other = train_eval.measure(cells, digits)
    assert isinstance(refused, CannotRun)
    assert "a batch statistic needs 2 values per channel" in str(refused)
    assert other.metrics["forgotten_eval_drop"] > 0


def test_a_batch_larger_than_the_test_part_is_skipped_where_that_matters(asked, digits):
    (ended,) = train_eval.measure([asked(test_batch_size=10_000)], digits)
    assert isinstance(ended, CannotRun)
    assert str(ended) == "test_batch_size is 10000, and the test part has 360 samples"


def test_a_net_that_diverged_shows_nothing(asked, digits):
    (ended,) = train_eval.measure([asked(learning_rate=1e25)], digits)
    assert isinstance(ended, Diverged)


def test_a_strength_without_a_shift_is_refused(asked):
    with pytest.raises(ValidationError, match='strength is of a shift, such as shift = "noise"; got strength = 2'):
        asked(strength=2)
