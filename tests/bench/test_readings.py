"""One trained net, read with each kind of statistics, against readings written out by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import normzoo
from normzoo_bench import accuracy, splits
from normzoo_bench.ranks import VirtualRanks, unwrap, wrap
from normzoo_bench.result import CannotRun, Diverged
from normzoo_bench.training import readings
from normzoo_bench.training.optimizer import rates
from normzoo_bench.training.readings import Reader
from normzoo_bench.training.trainer import Training

ALL = {"readings": "all", "train_samples": 400, "epochs": 2}
BATCHED = ["batch_norm", "sync_batch_norm", "batch_renorm", "sync_batch_renorm"]


@pytest.fixture
def trained(settings, digits, monkeypatch):
    """Give a function that trains a cell and gives its metrics, the trained model, and both feeds."""
    seen = {}
    original = Reader.read

    def read(self, training):
        seen["model"], seen["feeds"] = training.model, (self.train, self.held)
        return original(self, training)

    monkeypatch.setattr(Reader, "read", read)

    def train(**changes):
        metrics = accuracy.measure(settings(**(ALL | changes)), digits).metrics
        return metrics, unwrap(seen["model"]), *seen["feeds"]

    return train


def share_of_hits(model, feed, batches, training):
    """Test with plain modules: the layers' own training mode, batch by batch."""
    model = copy.deepcopy(model).eval()
    norms = tuple(normzoo.card(name).factory for name in normzoo.names())
    kept = copy.deepcopy(model.state_dict())
    hits = 0
    with torch.no_grad():
        for index in batches:
            for module in model.modules():
                if isinstance(module, norms):
                    module.train(training)
            images, labels = feed.batch(index)
            hits += (model(images).argmax(1) == labels).sum().item()
            model.load_state_dict(kept)  # what a batch has moved is not for the next
    return hits / sum(len(index) for index in batches)


def hits_of_fill(model, feed, last, size, count):
    """Count the hits among the last positions of the last chunk, each read within its own part."""
    if not count:
        return 0
    ranks = len(last) // size
    found = torch.zeros(len(last), dtype=torch.bool)
    model = copy.deepcopy(model).eval()
    norms = tuple(normzoo.card(name).factory for name in normzoo.names())
    kept = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for first in range(ranks):
            for module in model.modules():
                if isinstance(module, norms):
                    module.train()
            images, labels = feed.batch(last[first::ranks])
            found[first::ranks] = model(images).argmax(1) == labels
            model.load_state_dict(kept)
    return found[-count:].sum().item()


@pytest.mark.parametrize("size", [0, 7, 25])
@pytest.mark.parametrize("name", BATCHED)
def test_the_reading_by_batch_is_training_mode_on_iid_test_batches_of_that_size(trained, name, size):
    metrics, model, _, held = trained(normalizer=name, ranks=5, eval_batch_size=size)
    size = size or (40 if name.startswith("sync") else 8)
    drawn = readings.stream(0, "test batches").permutation(len(held))
    filled = torch.from_numpy(np.concatenate([drawn, drawn])[: -(-len(drawn) // size) * size])
    parts = filled.split(250 // size * size)
    batches = [some[first :: len(some) // size] for some in parts for first in range(len(some) // size)]
    assert {len(index) for index in batches} == {size}
    twice = len(filled) - len(drawn)  # what fills the last part up is read there, and not counted
    hits = share_of_hits(model, held, batches, training=True) * len(filled)
    spare = hits_of_fill(model, held, parts[-1], size, twice)
    assert metrics["test_accuracy_batch"] == pytest.approx((hits - spare) / len(drawn))


def test_the_gap_is_what_changes_when_batch_statistics_give_way_to_running_ones(trained):
    metrics, *_ = trained(ranks=5)
    assert metrics["train_eval_gap"] == metrics["test_accuracy"] - metrics["test_accuracy_batch"]


def test_the_population_reading_is_that_of_the_training_parts_own_moments(trained, settings):
    """At the first norm, which no cut of the data can touch, against numpy's moments in float64."""
    metrics, model, train, held = trained(ranks=20)
    other = copy.deepcopy(model)
    readings.population(other, train, settings())
    with torch.no_grad():
        seen = model[:2](train.batch(slice(None))[0]).double().numpy()
    assert other[2].running_mean.numpy() == pytest.approx(seen.mean(0), rel=1e-5, abs=1e-5)
    assert other[2].running_var.numpy() == pytest.approx(seen.var(0, ddof=1), rel=1e-5)
    expected = share_of_hits(other, held, [torch.arange(len(held))], training=False)
    assert metrics["test_accuracy_population"] == expected


@pytest.mark.parametrize("name", ["group_norm", "layer_norm", "none"])
def test_what_has_no_batch_statistics_has_the_running_reading_alone(trained, name):
    metrics, *_ = trained(normalizer=name, frozen_from=0.5)
    assert {key for key in metrics if key.startswith("test_accuracy")} == {"test_accuracy"}
    assert "train_eval_gap" not in metrics


def test_readings_and_branches_leave_the_training_as_it_was(settings, digits):
    plain = accuracy.measure(settings(epochs=4, ranks=5), digits)
    read = accuracy.measure(settings(epochs=4, ranks=5, readings="all", frozen_from=0.5, ema=0.9), digits)
    assert read.series == plain.series
    assert plain.metrics.items() <= read.metrics.items()


def test_the_frozen_branch_goes_on_where_training_was_with_statistics_that_do_not_move(settings, digits, monkeypatch):
    seen = []
    original = readings.freeze

    def freeze(training, feed, given):
        branch = original(training, feed, given)
        seen.append((training, branch, {key: value.clone() for key, value in branch.model.state_dict().items()}))
        return branch

    monkeypatch.setattr(accuracy, "freeze", freeze)
    metrics = accuracy.measure(settings(epochs=4, ranks=5, frozen_from=0.5), digits).metrics
    ((training, branch, before),) = seen
    after = branch.model.state_dict()
    statistics = {key for key in before if "running" in key}
    assert len(statistics) == 6
    assert all(torch.equal(before[key], after[key]) for key in statistics)
    assert not torch.equal(
        before["0.weight" if "0.weight" in before else next(iter(before))], after[next(iter(before))]
    )
    assert training.series["train_loss"][:2] == branch.series["train_loss"][:2]
    assert len(branch.series["train_loss"]) == 4
    assert 0 < metrics["test_accuracy_frozen"] <= 1


@pytest.mark.parametrize("changes", [{}, {"ranks": 8}, {"optimizer": "adamw", "learning_rate": 0.01}], ids=str)
def test_the_frozen_branch_trains_as_a_loop_written_out_by_hand(settings, digits, monkeypatch, changes):
    """From the fork on: its own copy of the optimizer's state, the epochs that are left, the rates of those."""
    cell = settings(epochs=4, train_samples=400, frozen_from=0.5, warmup_epochs=1, **changes)
    kept = {}
    original = readings.freeze

    def freeze(training, feed, given):
        branch = original(training, feed, given)
        kept["model"] = copy.deepcopy(branch.model)
        state = training.optimizer.state
        kept["state"] = [copy.deepcopy(state[p]) for p in training.model.parameters()]
        return branch

    monkeypatch.setattr(accuracy, "freeze", freeze)
    run = accuracy.Run(cell, digits)
    accuracy._train([run])
    model = kept["model"].eval()
    groups = [{"params": [p], "weight_decay": 5e-4 if p.dim() > 1 else 0.0} for p in model.parameters()]
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[cell.optimizer]
    optimizer = kind(groups, 0.1, **({"momentum": 0.9, "nesterov": True} if cell.optimizer == "sgd" else {}))
    for parameter, state in zip(model.parameters(), kept["state"], strict=True):
        optimizer.state[parameter] = state
    curve = rates(cell, 10)
    order = splits.epochs(cell, run.train.labels.numpy())
    for epoch in (2, 3):
        for step, index in enumerate(order(epoch)):
            for group in optimizer.param_groups:
                group["lr"] = curve[epoch * 10 + step]
            images, labels = run.train.batch(torch.from_numpy(index))
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    pairs = zip(model.parameters(), run.branch.model.parameters(), strict=True)
    assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-6) for one, other in pairs)
    assert run.branch.average is None


def test_a_model_that_flattens_tokens_has_no_reading_by_batch(settings, digits, monkeypatch):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.norm, self.head = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 10)

        def forward(self, x):
            rows = x.flatten(0, 2)  # [N·8, 8]: every row of pixels is a sample to the norm
            return self.head(self.norm(self.embed(rows)).view(len(x), 8, 16).mean(1))

    monkeypatch.setattr(accuracy.models, "build", lambda *_: Tokens())
    metrics = accuracy.measure(settings(**ALL), digits).metrics
    assert "test_accuracy_population" in metrics
    assert "test_accuracy_batch" not in metrics


def test_a_branch_that_diverges_counts_as_chance_and_the_training_stands(settings, digits, monkeypatch):
    original = Training.end

    def end(self):
        original(self)
        self.diverged = self.diverged or not any(isinstance(m, VirtualRanks) for m in self.model.modules())

    monkeypatch.setattr(Training, "end", end)
    metrics = accuracy.measure(settings(epochs=2, ranks=5, frozen_from=0.5), digits).metrics
    assert metrics["test_accuracy_frozen"] == 0.1
    assert metrics["test_accuracy"] > 0.5


def test_averaged_weights_are_those_of_a_moving_average_with_population_statistics(trained, settings, digits):
    metrics, *_ = trained(ema=0.5)
    still, *_ = trained(ema=0.999)
    assert metrics["test_accuracy_ema"] > 0.5
    assert still["test_accuracy_ema"] < metrics["test_accuracy_ema"]  # its weights have hardly left their beginning


def test_cells_that_differ_in_eval_batch_size_alone_share_one_training(settings, digits, monkeypatch):
    trainings = []
    original = Training.__init__
    monkeypatch.setattr(Training, "__init__", lambda self, *given: trainings.append(self) or original(self, *given))
    cells = [settings(**(ALL | {"ranks": 5, "eval_batch_size": size})) for size in (0, 2, 40)]
    together = accuracy.measure_together(cells, digits)
    assert len(trainings) == 1
    assert [one.metrics for one in together] == [accuracy.measure(cell, digits).metrics for cell in cells]


def test_several_seeds_measured_together_give_what_each_gives_alone(settings, digits):
    cells = [settings(seed=seed, ranks=5) for seed in (0, 1, 2)]
    assert accuracy.measure_together(cells, digits) == [accuracy.measure(cell, digits) for cell in cells]


def test_one_seed_that_diverges_does_not_stop_the_others(settings, digits, monkeypatch):
    original = Training.end

    def end(self):
        original(self)
        self.diverged = self.settings.seed == 1

    monkeypatch.setattr(Training, "end", end)
    kinds = [type(one) for one in accuracy.measure_together([settings(seed=seed) for seed in (0, 1, 2)], digits)]
    assert kinds[1] is Diverged
    assert Diverged not in (kinds[0], kinds[2])


def test_more_samples_per_statistic_than_the_test_part_has_are_refused(settings, digits):
    with pytest.raises(CannotRun, match="eval_batch_size is 400, and the test part has 360 samples"):
        accuracy.measure(settings(**(ALL | {"eval_batch_size": 400})), digits)


def test_a_reading_that_cannot_be_leaves_the_other_cells_of_its_training_alone(settings, digits):
    cells = [settings(**(ALL | {"ranks": 5, "eval_batch_size": size})) for size in (0, 400, 1)]
    whole, too_many, one = accuracy.measure_together(cells, digits)
    assert "test_accuracy_batch" in whole.metrics
    assert isinstance(too_many, CannotRun)
    assert isinstance(one, CannotRun)
    assert "a batch statistic needs 2 values per channel" in str(one)


def test_validation_reads_no_test_image(settings, digits):
    metrics = accuracy.measure(settings(evaluate_on="validation", readings="all"), digits).metrics
    assert {key for key in metrics if "test" in key} == set()
    assert 0.5 < metrics["validation_accuracy"] <= 1


def test_the_validation_part_is_cut_from_the_training_part_and_shares_no_image_with_it(digits):
    for samples in ("all", 200, 1400):
        train, held = digits.parts(3, samples, "validation")
        whole, test = digits.parts(3, "all")
        rows = [{image.numpy().tobytes() for image in part.images} for part in (train, held, whole, test)]
        assert rows[0] <= rows[2]
        assert rows[1] <= rows[2]
        assert len(rows[0] & rows[1]) <= 1  # the digits hold a few images twice
        assert len(held.labels) >= 0.19 * len(train.labels)


def test_unwrapping_gives_the_plain_layers_back_with_the_buffers_that_were_asked_for():
    model = normzoo.convert(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), "batch_norm")
    wrap(model, normzoo.card("batch_norm"), 2)
    model(torch.randn(8, 3))
    (layer,) = [module for module in model.modules() if isinstance(module, VirtualRanks)]
    first = layer.states["running_mean"][0].clone()
    unwrap(model)
    assert [type(module).__name__ for module in model] == ["Linear", "BatchNorm"]
    assert torch.equal(model[1].running_mean, first)
