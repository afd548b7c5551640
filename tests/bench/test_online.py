"""A trained net on a stream, against loops written out by hand, one batch after the other."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch
from pets import CLASSES, part_of, pictures, saved
from torch import nn
from torch.nn import functional as F

import normzoo
from normzoo_bench import accuracy, data, splits
from normzoo_bench.errors import UsageError
from normzoo_bench.ranks import unwrap
from normzoo_bench.result import CannotRun
from normzoo_bench.seeds import stream
from normzoo_bench.training import online
from normzoo_bench.training.batchwise import hits_by_batch
from normzoo_bench.training.trainer import Training

SMALL = {"train_samples": 400, "epochs": 2, "ranks": 5}
CONVNET = {"model": "small_convnet", "train_samples": 200, "ranks": 5}
ALL = {"stream_accuracy", "stream_accuracy_batch", "stream_accuracy_adabn", "stream_accuracy_momentum"}
STREAMS = ("iid", "class_ordered", "drifting")


@pytest.fixture(scope="module")
def trained(digits):
    """Give a function that trains a cell once, and gives the run."""

    @functools.cache
    def train(changes):
        run = accuracy.Run(settings_of(dict(changes)), digits)
        accuracy._train([run])
        run.ended(run.settings)
        return run

    return lambda **changes: train(tuple(sorted(changes.items())))


def settings_of(changes):
    small = {"normalizer": "batch_norm", "dataset": "digits", "model": "mlp", "epochs": 1, "batch_size": 40}
    return accuracy.AccuracySettings.model_validate(small | changes)


def read(run, **asked):
    """The metrics of a stream."""
    return online.read_stream(run.training.model, run.held, run.settings.model_copy(update=asked))


def plain(run):
    """The plain test accuracy."""
    return run.ended(run.settings).metrics["test_accuracy"]


def of_time(feed, kind, size):
    """The stream's batches, cut by hand; 360 samples."""
    order = splits.order(kind, feed.labels.numpy(), stream(0, "order of the test stream"))
    assert sorted(order) == list(range(360))
    cuts = {1: 360, 7: 51, 8: 45, 40: 9, 50: 7, 90: 4, 100: 4}[size]
    ends = [size * number for number in range(1, cuts)]
    return [torch.from_numpy(one) for one in np.split(order, ends)]


def walk(model, images, treat):
    """Run a sequential model; ``treat`` stands for its norm layers."""
    kinds = tuple(normzoo.card(name).factory for name in normzoo.names())
    for layer in model:
        images = treat(layer, images) if isinstance(layer, kinds) else layer(images)
    return images


@torch.no_grad()
def share_of_hits(run, batches, treat, feed=None):
    feed = feed or run.held
    model = unwrap(copy.deepcopy(run.training.model)).eval()
    hits = 0
    for index in batches:
        images, labels = feed.batch(index)
        hits += (walk(model, images, treat).argmax(1) == labels).sum().item()
    return hits / sum(map(len, batches))


def by_torch(layer, x):
    return F.batch_norm(x, None, None, layer.weight, layer.bias, training=True, eps=layer.eps)


def moments(x):
    axes = [0, *range(2, x.dim())]
    return x.double().mean(axes), x.double().var(axes, correction=0), x.numel() // x.shape[1]


def per_channel(x, mean, deviation, layer):
    shape = (1, -1, *[1] * (x.dim() - 2))
    mean, deviation, weight, bias = (one.view(shape) for one in (mean, deviation, layer.weight, layer.bias))
    return ((x - mean) / deviation * weight + bias).float()


class Moving:
    """Running statistics moved by hand, one batch after the other, in float64."""

    def __init__(self, weight):
        self.weight, self.kept = weight, {}

    def start(self, layer):
        spread = layer.running_std if hasattr(layer, "running_std") else layer.running_var
        return layer.running_mean.double(), spread.double()

    def __call__(self, layer, x):
        mean, var, count = moments(x)
        at, spread = self.kept.get(layer, self.start(layer))
        renorm = hasattr(layer, "running_std")
        if count > 1:
            new = torch.sqrt(var + layer.eps) if renorm else var * count / (count - 1)
            spread = (1 - self.weight) * spread + self.weight * new
        at = (1 - self.weight) * at + self.weight * mean
        self.kept[layer] = at, spread
        return per_channel(x, at, spread if renorm else torch.sqrt(spread + layer.eps), layer)


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("size", [7, 50])
def test_batch_statistics_are_those_of_each_batch_of_the_stream(trained, kind, size):
    run = trained(**SMALL)
    found = read(run, stream=kind, eval_batch_size=size)["stream_accuracy_batch"]
    assert found == share_of_hits(run, of_time(run.held, kind, size), by_torch)


@pytest.mark.parametrize(("normalizer", "local"), [("batch_norm", 8), ("sync_batch_norm", 40)])
def test_a_stream_has_as_many_samples_a_batch_as_training_unless_told_otherwise(trained, normalizer, local):
    run = trained(**SMALL, normalizer=normalizer)
    found = read(run, stream="class_ordered")["stream_accuracy_batch"]
    assert found == share_of_hits(run, of_time(run.held, "class_ordered", local), by_torch)


@pytest.mark.parametrize("weight", [0.1, 0.5])
@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("normalizer", ["batch_norm", "sync_batch_norm", "batch_renorm"])
def test_running_statistics_are_moved_by_each_batch_before_it_is_normalized_by_them(trained, normalizer, size, weight):
    run = trained(**SMALL, normalizer=normalizer)
    asked = {"stream": "class_ordered", "eval_batch_size": size, "stream_momentum": weight}
    found = read(run, **asked)["stream_accuracy_momentum"]
    assert found == share_of_hits(run, of_time(run.held, "class_ordered", size), Moving(weight))


@pytest.mark.parametrize("size", [1, 50])
def test_a_convolutional_net_is_read_as_by_hand(trained, size):
    """Here even one sample has a variance of its own, over its positions."""
    run = trained(**CONVNET)
    found = read(run, stream="drifting", eval_batch_size=size, stream_momentum=0.3)
    batches = of_time(run.held, "drifting", size)
    assert found["stream_accuracy_momentum"] == share_of_hits(run, batches, Moving(0.3))
    assert found["stream_accuracy_batch"] == share_of_hits(run, batches, by_torch)


def test_what_a_batch_moves_in_training_mode_is_not_for_the_next(trained):
    """Batch renorm with narrow limits gives nearly what its running statistics say, and so would tell."""
    run = trained(**SMALL, normalizer="batch_renorm(momentum=0.9, r_max=1.1, d_max=0.1)")
    batches = of_time(run.held, "class_ordered", 90)  # two pass together, then the other two
    together = hits_by_batch(run.training.model, batches, run.held, run.settings)
    alone = [hits_by_batch(run.training.model, [one], run.held, run.settings) for one in batches]
    assert torch.equal(together, torch.cat(alone))


def test_adapted_statistics_are_those_of_the_whole_stream(trained):
    """Each layer's moments in training mode, over all batches together."""
    run = trained(**SMALL)
    drawn = torch.from_numpy(stream(0, "population").permutation(360)).split(180)
    seen = {}

    def look(layer, x):
        seen.setdefault(layer, []).append(x)
        return by_torch(layer, x)

    model = unwrap(copy.deepcopy(run.training.model)).eval()
    with torch.no_grad():
        for index in drawn:
            walk(model, run.held.batch(index)[0], look)
        known = {layer: moments(torch.cat(values)) for layer, values in seen.items()}

        def adapted(layer, x):
            mean, var, count = known[layer]
            return per_channel(x, mean, torch.sqrt(var * count / (count - 1) + layer.eps), layer)

        images, labels = run.held.batch(slice(None))
        expected = (walk(model, images, adapted).argmax(1) == labels).double().mean().item()
    assert read(run, stream="iid")["stream_accuracy_adabn"] == expected


@pytest.mark.parametrize("normalizer", ["batch_norm", "batch_renorm"])
def test_adapted_statistics_hang_neither_on_the_order_of_a_stream_nor_on_its_batches(trained, normalizer):
    run = trained(**SMALL, normalizer=normalizer)
    asked = [(kind, size) for kind in STREAMS for size in (0, 50)]
    found = {read(run, stream=kind, eval_batch_size=size)["stream_accuracy_adabn"] for kind, size in asked}
    assert len(found) == 1


@pytest.mark.parametrize("normalizer", ["group_norm", "layer_norm", "none"])
def test_what_does_not_pool_over_the_batch_gives_the_same_on_every_stream(trained, normalizer):
    run = trained(**SMALL, normalizer=normalizer)
    found = [read(run, stream=kind, eval_batch_size=size) for kind in STREAMS for size in (0, 1, 400)]
    assert all(one == {"stream_accuracy": plain(run)} for one in found)


def test_kept_statistics_are_those_of_the_plain_test(trained):
    run = trained(**SMALL)
    assert read(run, stream="class_ordered")["stream_accuracy"] == plain(run)


def test_a_corruption_is_of_the_pixels_and_standardized_as_training_was(trained):
    run = trained(**SMALL)
    feed = run.held
    dark = copy.copy(feed)
    object.__setattr__(dark, "images", 255 - feed.images)
    found = read(run, stream="class_ordered", corruption="inversion")
    assert found["stream_accuracy_batch"] == share_of_hits(run, of_time(feed, "class_ordered", 8), by_torch, dark)
    assert found["stream_accuracy"] < 0.5 * plain(run)


def test_batch_statistics_do_worse_than_kept_ones_on_a_class_ordered_stream_only(trained):
    """Gong et al. 2022 (arXiv:2208.05117) on CIFAR-10-C: error 73.4 on a correlated stream, 21.6 on an iid one."""
    run = trained(**SMALL)
    mixed, ordered = (read(run, stream=kind, eval_batch_size=40) for kind in ("iid", "class_ordered"))
    assert ordered["stream_accuracy_batch"] < ordered["stream_accuracy"] - 0.3
    assert mixed["stream_accuracy_batch"] > mixed["stream_accuracy"] - 0.1


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (12, 4, [4, 4, 4]),
        (13, 4, [4, 4, 5]),
        (14, 4, [4, 4, 6]),
        (15, 4, [4, 4, 4, 3]),
        (3, 1, [1, 1, 1]),
        (5, 2, [2, 3]),
        (5, 5, [5]),
        (7, 5, [7]),
        (8, 5, [5, 3]),
    ],
)
def test_a_last_batch_of_at_most_half_the_size_joins_the_one_before(count, size, sizes):
    batches = online.cut(np.arange(count), size)
    assert [len(one) for one in batches] == sizes
    assert np.concatenate(batches).tolist() == list(range(count))


def test_what_one_sample_cannot_give_is_left_out_and_the_rest_stands(settings, digits):
    """One sample of an MLP has no variance; its mean moves the running one all the same."""
    cell = settings(**SMALL, stream="iid", eval_batch_size=1, readings="all")
    metrics = accuracy.measure(cell, digits).metrics
    assert {name for name in metrics if "stream" in name} == ALL - {"stream_accuracy_batch"}
    assert "test_accuracy_batch" not in metrics


def test_larger_batches_than_the_test_part_are_refused(settings, digits):
    with pytest.raises(CannotRun, match="eval_batch_size is 400, and the test part has 360 samples"):
        accuracy.measure(settings(stream="iid", eval_batch_size=400), digits)


def test_cells_that_differ_in_what_is_read_afterwards_alone_share_one_training(settings, digits, monkeypatch):
    asked = [
        {},
        {"stream": "iid"},
        {"stream": "class_ordered", "eval_batch_size": 50},
        {"stream": "class_ordered", "eval_batch_size": 50, "stream_momentum": 0.5},
        {"stream": "drifting", "corruption": "inversion"},
        {"probe": "leak", "eval_batch_size": 20},
        {"stream": "iid", "probe": "leak"},
    ]
    cells = [settings(**SMALL, **one) for one in asked]
    alone = [accuracy.measure(cell, digits) for cell in cells]
    trainings = []
    original = Training.__init__
    monkeypatch.setattr(Training, "__init__", lambda self, *given: trainings.append(self) or original(self, *given))
    assert accuracy.measure_together(cells, digits) == alone
    assert len(trainings) == 1
    assert len({str(one.metrics) for one in alone}) == len(asked)


def test_a_stream_leaves_the_trained_net_as_it_was(trained):
    run = trained(**SMALL)
    before = copy.deepcopy(run.training.model.state_dict())
    read(run, stream="class_ordered", corruption="inversion", eval_batch_size=50)
    after = run.training.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_validation_meets_no_stream(settings, digits):
    metrics = accuracy.measure(settings(evaluate_on="validation", stream="iid"), digits).metrics
    assert not [name for name in metrics if "stream" in name]


def test_statistics_that_cannot_be_set_are_left_out(settings, digits):
    @normzoo.register("unset", paper="none", year=None, pools={"batch", "space"}, running_stats=True)
    class Unset(nn.Module):
        def __init__(self, num_features):
            super().__init__()
            self.inner = nn.BatchNorm1d(num_features)
            self.register_buffer("running_mean", torch.zeros(num_features))

        def forward(self, x):
            return self.inner(x)

    metrics = accuracy.measure(settings(normalizer="unset", stream="iid"), digits).metrics
    assert {name for name in metrics if "stream" in name} == {"stream_accuracy", "stream_accuracy_batch"}


def test_what_is_derived_from_torchs_batch_norm_is_read_as_batch_norm_is(settings, digits):
    @normzoo.register("torchs", paper="none", year=None, pools={"batch", "space"}, running_stats=True)
    class Torchs(nn.BatchNorm1d):
        pass

    cell = {"stream": "class_ordered", "eval_batch_size": 50}
    found, expected = (
        accuracy.measure(settings(normalizer=name, **cell), digits).metrics for name in ("torchs", "batch_norm")
    )
    assert {name for name in found if "stream" in name} == ALL
    assert found == pytest.approx(expected, abs=0.01)


def test_a_layer_that_runs_twice_has_no_moving_statistics(settings, digits, monkeypatch):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm, self.head = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 10)

        def forward(self, x):
            return self.head(self.norm(self.norm(self.first(x.flatten(1))).relu()))

    monkeypatch.setattr(accuracy.models, "build", lambda *_: Twice())
    metrics = accuracy.measure(settings(stream="iid"), digits).metrics
    assert {name for name in metrics if "stream" in name} == ALL - {"stream_accuracy_momentum"}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"stream": "class_orderd"}, "did you mean 'class_ordered'"),
        ({"stream": "by_class"}, "known: class_ordered, drifting, iid"),
        ({"stream": "iid(k=2)"}, "iid"),
        ({"stream": "iid", "corruption": "blurr"}, "did you mean 'blur'"),
        ({"stream": "iid", "corruption": "blur(width=2)"}, "width"),
        ({"stream": "iid", "corruption": "inversion", "data": "stream"}, 'data = "resident"'),
        ({"stream": "iid", "effects": "nuisance"}, "one thing at a time"),
        ({"probe": "leak", "effects": "signal"}, "one thing at a time"),
    ],
)
def test_a_stream_that_does_not_exist_or_fit_is_refused_before_training(settings, asked, told):
    with pytest.raises(UsageError, match=told):
        online.check(settings(**asked))


def test_streams_and_corruptions_that_exist_pass(settings):
    for kind in STREAMS:
        online.check(settings(stream=kind, corruption="inversion"))
    online.check(settings())


@pytest.mark.usefixtures("own_caches")
def test_images_that_are_decoded_while_testing_are_read_and_probed_too(settings, tmp_path):
    where = saved(tmp_path, train=part_of(pictures(60), [i % 3 for i in range(60)], CLASSES))
    source = data.find(f"{where}(size=8)")
    cell = settings(data="stream", batch_size=10, stream="drifting(width=0.1)", probe="leak")
    metrics = accuracy.measure(cell, data.load_as("stream", source.name, source.where)).metrics
    assert metrics.keys() >= {*ALL, "test_accuracy_grouped", "label_leak", "gradient_footprint"}
