"""The leak probe, against planted leaks, batches read one after the other, and Jacobians."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import normzoo
from normzoo_bench import accuracy
from normzoo_bench.ranks import unwrap
from normzoo_bench.result import CannotRun
from normzoo_bench.training import leak
from normzoo_bench.training.batchwise import classwise, iid_batches
from normzoo_bench.training.feed import Feed

SMALL = {"train_samples": 400, "epochs": 2, "ranks": 5, "probe": "leak"}


@pytest.fixture
def trained(settings, digits):
    def train(**changes):
        run = accuracy.Run(settings(**(SMALL | changes)), digits)
        accuracy._train([run])
        return run, run.ended(run.settings).metrics

    return train


def made_up(classes=4, each=60):
    """Images of noise in which the label is hidden: one bright pixel among many, too faint to be seen in one image."""
    labels = torch.arange(classes * each) % classes
    draw = np.random.default_rng(0)
    images = draw.normal(100, 30, (len(labels), 1, 4, 4))
    images.reshape(len(labels), 16)[np.arange(len(labels)), labels] += 12
    moments = torch.full((1, 1, 1, 1), 100.0), torch.full((1, 1, 1, 1), 30.0)
    return Feed(torch.from_numpy(images.clip(0, 255).astype(np.uint8)), labels, *moments)


@pytest.fixture
def mean_of_the_batch():
    """A normalizer that gives the batch's mean to each of its samples: all it says is what batch-mates look like."""

    @normzoo.register("mean_of_the_batch", paper="none", year=None, pools={"batch"})
    class MeanOfTheBatch(nn.Module):
        def __init__(self, num_features):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(num_features))

        def forward(self, x):
            return (x.mean(0, keepdim=True) * self.weight).expand_as(x) if self.training else x * self.weight

    return nn.Sequential(nn.Flatten(), MeanOfTheBatch(16), nn.Linear(16, 4, bias=False))


def test_a_planted_leak_is_found(mean_of_the_batch, settings):
    """The mean over 50 images of one class shows the pixel that none of them shows."""
    model = mean_of_the_batch
    with torch.no_grad():
        model[2].weight.copy_(torch.eye(4, 16))
    cell = settings(normalizer="mean_of_the_batch", probe="leak", eval_batch_size=50)
    found = leak.read_leak(model, made_up(), cell, iid=0.25)
    assert found["test_accuracy_grouped"] == 1
    assert found["label_leak"] == 0.75
    # every image of the batch has the same part in its mean
    assert found["gradient_footprint"] == pytest.approx(49 / 50)


@pytest.mark.parametrize("normalizer", ["group_norm", "layer_norm", "none"])
@pytest.mark.parametrize("model", ["mlp", "small_convnet"])
def test_without_pooling_over_the_batch_there_is_exactly_no_leak(trained, normalizer, model):
    _, found = trained(normalizer=normalizer, model=model, epochs=1, train_samples=200)
    assert found["test_accuracy_grouped"] == found["test_accuracy"]
    assert found["label_leak"] == 0
    assert found["gradient_footprint"] == 0
    assert "test_accuracy_batch" not in found


@pytest.mark.parametrize("size", [1, 7, 50, 400])
def test_batches_of_one_class_read_every_sample_once_and_are_filled_up_from_it(size):
    labels = np.random.default_rng(1).choice(5, 300, p=[0.4, 0.3, 0.2, 0.09, 0.01])
    batches = classwise(0, labels, size)
    assert batches.index.shape[1] == size
    assert all(len(set(labels[own].tolist())) == 1 for own in batches.index.numpy())
    assert sorted(batches.index[batches.counts].tolist()) == list(range(300))
    assert len(batches.index) == sum(-(-count // size) for count in np.bincount(labels))


@pytest.mark.parametrize(("normalizer", "size"), [("batch_norm", 0), ("batch_norm", 20), ("sync_batch_norm", 0)])
def test_the_grouped_accuracy_is_training_mode_on_batches_of_one_class(trained, normalizer, size):
    run, found = trained(normalizer=normalizer, eval_batch_size=size)
    size = size or {"batch_norm": 8, "sync_batch_norm": 40}[normalizer]
    model = unwrap(copy.deepcopy(run.training.model)).train()  # an MLP has no other layers with two modes
    batches = classwise(0, run.held.labels.numpy(), size)
    hits = 0
    with torch.no_grad():
        for index, counts in zip(batches.index, batches.counts, strict=True):
            images, labels = run.held.batch(index)
            hits += (model(images).argmax(1) == labels)[counts].sum().item()
    assert found["test_accuracy_grouped"] == hits / 360
    assert found["label_leak"] == found["test_accuracy_grouped"] - found["test_accuracy_batch"]


def test_the_iid_counterpart_stands_beside_the_probe_and_is_that_of_the_reading_by_batch(settings, digits):
    probed, read = (
        accuracy.measure(settings(**(SMALL | asked)), digits).metrics
        for asked in ({}, {"probe": "none", "readings": "all"})
    )
    assert probed["test_accuracy_batch"] == read["test_accuracy_batch"]


def test_a_net_trained_on_parts_of_one_class_reads_labels_off_batch_mates_and_one_trained_iid_does_not(trained):
    """Ioffe 2017, figure 3: on batches composed as in training batch norm has 76.5, and 67.0 on running statistics."""
    net = {"model": "small_convnet", "ranks": 10, "batch_size": 80, "epochs": 4, "train_samples": "all"}
    grouped, iid = (trained(**net, split=split)[1] for split in ("exclusive_classes", "iid"))
    assert grouped["label_leak"] > 0.2
    assert iid["label_leak"] < -0.2


def jacobian_share(model, images, labels, sample):
    """The part of one loss's squared gradient that lies in the other images."""

    def loss(x):
        return F.cross_entropy(model(x), labels, reduction="none")[sample]

    squares = torch.autograd.functional.jacobian(loss, images).double().square().flatten(1).sum(1)
    return ((squares.sum() - squares[sample]) / squares.sum()).item()


@pytest.mark.parametrize(
    ("normalizer", "model", "size", "samples"),
    [
        ("batch_norm", "mlp", 8, 8),
        ("batch_norm", "mlp", 33, 32),
        ("batch_norm", "mlp", 100, 64),
        ("batch_norm", "small_convnet", 20, 16),
        ("batch_renorm", "mlp", 20, 16),
        ("sync_batch_norm", "mlp", 20, 16),
    ],
)
def test_the_footprint_is_the_mean_over_jacobians(trained, normalizer, model, size, samples):
    run, found = trained(normalizer=normalizer, model=model, eval_batch_size=size, epochs=1, train_samples=200)
    plain = unwrap(copy.deepcopy(run.training.model)).train()
    kept = copy.deepcopy(plain.state_dict())
    shares = []
    for index in iid_batches(0, 360, size).index[: -(-64 // size)]:
        images, labels = run.held.batch(index)
        for sample in range(samples):
            shares.append(jacobian_share(plain, images, labels, sample))
            plain.load_state_dict(kept)  # batch renorm reads what it moves
    assert len(shares) >= 64
    assert found["gradient_footprint"] == pytest.approx(np.mean(shares), rel=1e-4)
    assert found["gradient_footprint"] > 0.01


@pytest.mark.parametrize(("weight", "footprint"), [(0.0, None), (0.01, 0.0)])
def test_samples_without_a_gradient_do_not_count(settings, weight, footprint):
    """A loss of 0 in float32, here that of the first class, has no gradient, and 0 of 0 is no share."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    with torch.no_grad():
        model[1].weight.copy_(weight * torch.eye(4, 16))
        model[1].bias.copy_(torch.tensor([200.0, 0, 0, 0]))
    cell = settings(normalizer="group_norm", probe="leak", eval_batch_size=16)
    found = leak.read_leak(model, made_up(), cell, iid=0.25)
    assert found["label_leak"] == 0
    assert found.get("gradient_footprint") == footprint


def test_the_probe_leaves_the_trained_net_as_it_was(trained):
    run, _ = trained()
    before = copy.deepcopy(run.training.model.state_dict())
    leak.read_leak(run.training.model, run.held, run.settings, 0.5)
    after = run.training.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.requires_grad for parameter in run.training.model.parameters())


def test_batches_that_are_too_small_or_too_large_for_the_probe_are_refused(settings, digits):
    cells = [settings(**SMALL, eval_batch_size=size) for size in (1, 400, 8)]
    small, large, fit = accuracy.measure_together(cells, digits)
    assert isinstance(small, CannotRun)
    assert "2 values per channel" in str(small)
    assert isinstance(large, CannotRun)
    assert "label_leak" in fit.metrics


def test_validation_is_not_probed(settings, digits):
    metrics = accuracy.measure(settings(**SMALL, evaluate_on="validation"), digits).metrics
    assert not {"label_leak", "gradient_footprint"} & set(metrics)
