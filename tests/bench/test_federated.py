"""Federated averaging: against rounds written out by hand, and what each way of keeping statistics keeps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from normzoo_bench import accuracy, commands
from normzoo_bench.training.federated import Federation
from normzoo_bench.training.feed import feeds
from normzoo_suites import SuiteError

FEDERATED = {"ranks": 4, "local_epochs": 2, "epochs": 4, "buffers": "mean", "train_samples": 402}


@pytest.fixture
def federation(settings, digits):
    def build(**changes):
        asked = settings(**(FEDERATED | changes))
        train, _ = feeds(*digits.parts(asked.seed, asked.train_samples), "cpu")
        return Federation(accuracy.build(asked, digits, 10), train, asked)

    return build


def by_hand(federation, rounds, settings):
    """Train with explicit loops over the ranks' own batches; the optimizer is torch's, the rate the schedule's."""
    common = copy.deepcopy(federation.model)
    ranks = [copy.deepcopy(rank) for rank in federation.ranks]
    sizes = torch.tensor([len(rank.batches.feed) for rank in ranks], dtype=torch.float64)
    for number in range(rounds):
        states = []
        for rank in ranks:
            model = copy.deepcopy(common)
            plain = [p for p in model.parameters() if p.ndim <= 1]
            heavy = [p for p in model.parameters() if p.ndim > 1]
            groups = [{"params": heavy, "weight_decay": 5e-4}, {"params": plain, "weight_decay": 0.0}]
            own = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
            for epoch in (2 * number, 2 * number + 1):
                rank.batches.begin(epoch)
                for step in range(rank.batches.steps):
                    for group in own.param_groups:
                        group["lr"] = float(rank.rates[epoch * rank.batches.steps + step])
                    images, labels = rank.batches.take()
                    own.zero_grad()
                    F.cross_entropy(model(images), labels).backward()
                    own.step()
            states.append(model.state_dict())
        shares = sizes / sizes.sum()
        mean = {
            name: sum(share * state[name].double() for share, state in zip(shares, states, strict=True))
            for name in states[0]
        }
        common.load_state_dict({name: value.to(states[0][name].dtype) for name, value in mean.items()})
    return common


@pytest.mark.parametrize("normalizer", ["batch_norm", "group_norm", "batch_renorm"])
def test_rounds_are_those_written_out_by_hand(federation, settings, normalizer):
    made = federation(normalizer=normalizer)
    expected = by_hand(made, 2, settings)
    made.train(0, 4)
    for (name, own), other in zip(made.model.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5, msg=lambda said, name=name: f"{name}: {said}")


def test_one_step_of_equal_ranks_is_one_step_on_all_their_samples(federation, settings, digits):
    # 4 ranks of 10 samples, one step each from equal weights: the mean of their steps is the step of the mean gradient
    made = federation(normalizer="none", train_samples=40, batch_size=40, epochs=1, local_epochs=1)
    whole = copy.deepcopy(made.model)
    train, _ = feeds(*digits.parts(0, 40), "cpu")
    images, labels = train.batch(slice(None))
    F.cross_entropy(whole(images), labels).backward()
    made.train(0, 1)
    for own, before in zip(made.model.parameters(), whole.parameters(), strict=True):
        decay = 5e-4 if own.ndim > 1 else 0.0
        step = 0.1 * 1.9 * (before.grad + decay * before)  # Nesterov's first step is 1 + 0.9 of the gradient
        torch.testing.assert_close(own, before - step, rtol=1e-5, atol=1e-6)


def test_every_sample_belongs_to_one_rank(federation):
    made = federation()
    images = torch.cat([rank.batches.feed.images for rank in made.ranks])
    everything = feeds_of(made)
    assert sorted(map(tuple, images.flatten(1).tolist())) == sorted(map(tuple, everything.flatten(1).tolist()))


def feeds_of(made):
    from normzoo_bench import data

    return data.load("digits", "digits").parts(made.settings.seed, made.settings.train_samples)[0].images


def test_averaged_buffers_are_the_mean_over_ranks(federation):
    made = federation()
    made.train(0, 4)
    shares = torch.tensor(made.shares, dtype=torch.float64)
    for name, common in made.model.named_buffers():
        if common.is_floating_point():
            own = torch.stack([rank.model.get_buffer(name).double() for rank in made.ranks])
            expected = (shares.view(-1, *[1] * (own.ndim - 1)) * own).sum(0)
            torch.testing.assert_close(common.double(), expected, rtol=1e-5, atol=1e-6)


def test_local_norm_layers_are_never_overwritten_and_all_else_is(federation):
    made = federation(buffers="local", split="exclusive_classes")
    made.train(0, 2)
    trained = [copy.deepcopy(rank.model.state_dict()) for rank in made.ranks]
    factory = type(next(layer for layer in made.model.modules() if type(layer).__name__ == "BatchNorm"))
    norms = {f"{name}." for name, layer in made.model.named_modules() if isinstance(layer, factory)}
    for rank, before in zip(made.ranks, trained, strict=True):
        for name, value in rank.model.state_dict().items():
            own = name.startswith(tuple(norms))
            assert torch.equal(value, before[name] if own else made.model.state_dict()[name])
    first, second = (rank.model.state_dict() for rank in made.ranks[:2])
    apart = [name for name, value in first.items() if value.is_floating_point() and name.startswith(tuple(norms))]
    assert apart
    assert not any(torch.equal(first[name], second[name]) for name in apart)


def test_frozen_statistics_stay_and_weights_move_on(federation):
    made = federation()
    made.train(0, 2)
    branch = made.branch()
    frozen = {name: buffer.clone() for name, buffer in made.model.named_buffers()}
    weights = [p.clone() for p in branch.model.parameters()]
    branch.train(2, 4)
    assert all(torch.equal(buffer, frozen[name]) for name, buffer in branch.model.named_buffers())
    assert not any(torch.equal(p, before) for p, before in zip(branch.model.parameters(), weights, strict=True))
    made.train(2, 4)
    assert not all(torch.equal(buffer, frozen[name]) for name, buffer in made.model.named_buffers())


def test_a_branch_leaves_the_training_that_it_leaves_alone(federation):
    alone, forked = federation(), federation()
    alone.train(0, 4)
    forked.train(0, 2)
    forked.branch().train(2, 4)
    forked.train(2, 4)
    assert all(map(torch.equal, alone.model.state_dict().values(), forked.model.state_dict().values()))
    assert alone.series == forked.series


def test_a_rank_with_fewer_samples_than_its_batch_trains_and_counts_as_what_it_has(settings, digits, monkeypatch):
    from normzoo_bench.training import federated

    owners = [torch.arange(3).numpy(), torch.arange(3, 60).numpy()]
    monkeypatch.setattr(federated, "_owners", lambda *_: owners)
    asked = settings(**(FEDERATED | {"ranks": 2, "train_samples": 60}))
    train, _ = feeds(*digits.parts(0, 60), "cpu")
    made = Federation(accuracy.build(asked, digits, 4), train, asked)
    made.train(0, 2)
    assert made.shares == [0.05, 0.95]
    assert [rank.batches.steps for rank in made.ranks] == [1, 2]


def test_a_rank_that_diverges_ends_the_rounds(federation):
    made = federation()
    with torch.no_grad():
        next(made.ranks[2].model.parameters())  # ranks get the common weights; so spoil the rank's data instead
    object.__setattr__(made.ranks[2].batches.feed, "mean", torch.tensor(float("nan")))
    made.train(0, 4)
    assert made.diverged
    assert len(made.series["train_loss"]) == 1


@pytest.mark.parametrize("buffers", ["mean", "local"])
def test_a_federated_cell_is_measured_and_learns(settings, digits, buffers):
    asked = settings(**(FEDERATED | {"epochs": 8, "train_samples": "all", "buffers": buffers, "frozen_from": 0.5}))
    result = accuracy.measure(asked, digits)
    assert result.metrics["test_accuracy"] > 0.8
    assert result.metrics["test_accuracy_frozen"] > 0.8
    assert len(result.series["train_loss"]) == 8


def test_it_is_the_same_to_the_bit_each_time(settings, digits):
    first, second = (accuracy.measure(settings(**FEDERATED), digits) for _ in range(2))
    assert (first.metrics, first.series) == (second.metrics, second.series)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"buffers": "rank0"}, 'have buffers = "mean"'),
        ({"local_epochs": 3}, "3 does not divide 4; the nearest that does: [24]"),
        ({"dealing": "by_class"}, "need dealing = shuffled, got by_class"),
        ({"ema": 0.9}, "need ema = 0.0, got 0.9"),
        ({"data": "stream"}, "need data = resident, got stream"),
        ({"local_epochs": 0, "buffers": "local"}, "it needs local_epochs"),
    ],
)
def test_what_cannot_go_together_is_refused(settings, changes, said):
    with pytest.raises((SuiteError, ValueError), match=said):
        settings(**(FEDERATED | changes))


def test_a_normalizer_that_pools_over_ranks_is_skipped_with_the_reason(tmp_path):
    asked = {"ranks": "5", "local_epochs": "1", "buffers": "mean", "split": "iid"}
    plan = commands.plan("quick", settings=asked, normalizers=["sync_batch_norm"], seeds=1)
    reasons = {cell.skip for cell in plan.cells if cell.measure == "accuracy"}
    assert len(reasons) == 1
    assert "pools over ranks in every step" in str(reasons.pop())


def test_nn_module_is_the_only_thing_that_ranks_share(federation):
    made = federation()
    addresses = [p.data_ptr() for model in (made.model, *(r.model for r in made.ranks)) for p in model.parameters()]
    assert len(set(addresses)) == len(addresses)
    assert isinstance(made.model, nn.Module)
