"""Covariate shift in both meanings, against linear nets and moments that are known."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from normzoo_bench import accuracy
from normzoo_bench.insights import covariate_shift, shifts, watched
from normzoo_bench.insights.layers import layers_of
from normzoo_bench.models import build
from normzoo_bench.models.registry import BUILDERS
from normzoo_bench.result import CannotRun, Diverged
from normzoo_suites.settings import CovariateShiftSettings, training_of

SMALL = {"normalizer": "batch_norm", "dataset": "digits", "model": "mlp", "epochs": 2}
SMALL |= {"batch_size": 32, "train_samples": 300, "every": 6}


def asked(**changes):
    return CovariateShiftSettings.model_validate(SMALL | changes)


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear(*widths):
    layers = [nn.Linear(wide_in, wide, bias=False) for wide_in, wide in itertools.pairwise(widths)]
    return nn.Sequential(*layers).double()


@pytest.fixture
def two():
    """Two linear layers and a batch, in float64, and the net after a step of both."""
    torch.manual_seed(0)
    model = linear(5, 4, 3)
    held = watched.Held(model, drawn(7, 5), torch.tensor([0, 1, 2, 0, 1, 2, 0]))
    stepped = copy.deepcopy(model)
    with torch.no_grad():
        stepped[0].weight += 0.3 * drawn(4, 5, seed=1)
        stepped[1].weight += 0.3 * drawn(3, 4, seed=2)
    return held, stepped


def by_hand(first, second, images, labels):
    """The gradient of the mean cross-entropy of softmax(W₂W₁x) by W₂: (p − y)ᵀ(XW₁ᵀ)/N."""
    hidden = images @ first.T
    errors = torch.softmax(hidden @ second.T, 1) - F.one_hot(labels, 3)
    return errors.T @ hidden / len(images)


def test_of_two_linear_layers_the_shift_is_that_of_the_closed_form(two):
    held, stepped = two
    first, second = held.weights
    before = by_hand(first, second, held.images, held.labels)
    after = by_hand(stepped[0].weight.detach(), second, held.images, held.labels)
    (found,) = shifts.shifts(held, stepped, layers_of(held.model, held.images)[1:])
    length = (after - before).norm()
    cosine = (after * before).sum() / (after.norm() * before.norm())
    assert found.tolist() == pytest.approx(torch.stack([length, length / before.norm(), cosine]).tolist(), rel=1e-12)
    assert length > 0.01


def test_the_first_layer_has_no_shift_and_a_later_layers_step_moves_no_gradient(two):
    held, stepped = two
    first, second = shifts.shifts(held, stepped, layers_of(held.model, held.images))
    assert first.tolist() == pytest.approx([0, 0, 1], abs=1e-12)
    assert second[0] > 0
    with torch.no_grad():
        stepped[0].weight.copy_(held.model[0].weight)  # what is left is the step of the layer itself
    _, alone = shifts.shifts(held, stepped, layers_of(held.model, held.images))
    assert alone.tolist() == pytest.approx([0, 0, 1], abs=1e-12)


def test_lengths_and_angles_of_gradients_are_over_all_of_a_layers_parameters():
    one, other = [torch.tensor([3.0]), torch.tensor([[0.0]])], [torch.tensor([0.0]), torch.tensor([[4.0]])]
    assert shifts.gradient_shift(one, other).tolist() == pytest.approx([5, 5 / 3, 0])
    assert shifts.gradient_shift(one, [-part for part in one]).tolist() == pytest.approx([6, 2, -1])
    nothing = shifts.gradient_shift([torch.zeros(1)], [torch.ones(1)])
    assert nothing[0] == 1
    assert nothing[1:].isnan().all()


def test_inputs_that_move_by_their_deviation_shift_by_one():
    before = (torch.tensor([0.0, 5.0]).double(), torch.tensor([2.0, 2.0]).double())
    mean, deviation = before
    assert shifts.input_shift(before, (mean + 2, deviation)).tolist() == pytest.approx([1, 1, 0])
    assert shifts.input_shift(before, (mean, deviation * 1.5)).tolist() == pytest.approx([0.5, 0, 0.5])
    both = shifts.input_shift(before, (mean - 2, deviation * 0.5))
    assert both[0].item() == pytest.approx(math.hypot(1, 0.5))


def test_a_channel_that_hardly_varies_counts_by_the_layers_deviation():
    before = (torch.zeros(2).double(), torch.tensor([1e-9, 2**0.5]).double())
    after = (torch.tensor([0.1, 0.0]).double(), before[1])
    assert shifts.input_shift(before, after)[0].item() == pytest.approx(0.1 / 2**0.5)
    still = (torch.zeros(2).double(), torch.zeros(2).double())
    assert shifts.input_shift(still, after).isnan().all()


def test_the_moments_of_a_linear_layers_input_are_those_of_what_is_fed():
    model = linear(5, 4, 3)
    batches = [drawn(6, 5, seed=seed) for seed in (1, 2)]
    ((mean, deviation),) = shifts.moments(model, ["1"], batches, 0)
    hidden = torch.cat(batches) @ model[0].weight.T
    assert torch.allclose(mean, hidden.mean(0))
    assert torch.allclose(deviation, hidden.std(0, correction=0))


def test_the_moments_of_a_convolutions_input_are_by_channel_over_space():
    model = nn.Sequential(nn.Identity(), nn.Conv2d(3, 2, 1)).double()
    images = drawn(4, 3, 5, 5)
    ((mean, deviation),) = shifts.moments(model, ["1"], [images], 0)
    assert torch.allclose(mean, images.mean((0, 2, 3)))
    assert torch.allclose(deviation, images.std((0, 2, 3), correction=0))


def test_behind_a_batch_norm_inputs_have_the_moments_of_their_own_batch():
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, eps=1e-14), nn.Linear(4, 3)).double()
    batches = [drawn(6, 5, seed=1) * 3 + 7, drawn(6, 5, seed=2)]
    before = copy.deepcopy(model.state_dict())
    ((mean, deviation),) = shifts.moments(model, ["2"], batches, 0)
    assert mean.abs().max() < 1e-12
    assert torch.allclose(deviation, torch.ones(4, dtype=torch.float64))
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())


class Crossed(nn.Module):
    """Modules that are called in another order than they are made in, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.last, self.norm, self.first = nn.Linear(4, 2), nn.LayerNorm(4), nn.Linear(3, 4)
        self.shift = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return self.last(self.norm(self.first(x) + self.shift))


def test_layers_are_in_the_order_of_their_calls_and_norms_lie_between():
    first, last = layers_of(Crossed(), torch.zeros(2, 3))
    assert (first.name, last.name) == ("first", "last")
    assert last.own == ("last.weight", "last.bias")
    assert last.earlier == {"shift", "first.weight", "first.bias", "norm.weight", "norm.bias"}


@pytest.mark.parametrize("model", ["mlp", "small_convnet", "resnet20", "vgg", "vit"])
def test_of_every_model_each_parameter_but_the_last_layers_lies_before_that(model):
    net = build(model, (1, 8, 8), 10).train()
    layers = layers_of(net, torch.zeros(4, 1, 8, 8))
    names = {name for name, _ in net.named_parameters()}
    assert layers[-1].earlier == names - set(layers[-1].own)
    assert all(one.own and not set(one.own) & one.earlier for one in layers)


def test_depth_names_layers_but_never_the_first():
    net = build("mlp", (1, 8, 8), 10)
    layers = layers_of(net, torch.zeros(2, 1, 8, 8))
    names = [one.name for one in layers]
    picked = {depth: [one.name for one in covariate_shift.chosen(layers, depth)] for depth in ("all", "middle", "last")}
    assert picked == {"all": names[1:], "middle": [names[2]], "last": [names[3]]}
    with pytest.raises(CannotRun, match="the model has 1 convolution or linear layer"):
        covariate_shift.chosen(layers[:1], "all")


@pytest.mark.parametrize(
    "changes", [{}, {"normalizer": "batch_renorm"}, {"normalizer": "none", "model": "small_convnet"}]
)
def test_a_training_under_watch_is_the_one_that_accuracy_does(changes, digits):
    settings = asked(every=4, augment="crop_flip(padding=1)", **changes)
    plain, seen = (accuracy.Run(training_of(settings), digits) for _ in range(2))
    accuracy.finish(plain)
    watcher = covariate_shift.CovariateShift(seen, settings)
    watched.watch(seen, [watcher])
    assert list(watcher.gradients) == [0, 4, 8, 12, 16]
    assert list(watcher.inputs) == [0, 4, 8, 12, 16, 18]
    after = seen.training.model.state_dict()
    assert all(torch.equal(one, after[name]) for name, one in plain.training.model.state_dict().items())


def dropping(shape, classes):
    """A net that draws at random in training."""
    first, last = nn.Linear(64 * shape[0], 32), nn.Linear(32, classes)
    return nn.Sequential(nn.Flatten(), first, nn.BatchNorm1d(32), nn.Dropout(0.5), last)


@pytest.mark.parametrize(
    ("normalizer", "model"),
    [("batch_norm", "mlp"), ("layer_norm", "mlp"), ("none", "mlp"), ("batch_norm", "dropping")],
)
def test_a_net_that_stands_still_has_no_shift(normalizer, model, digits, monkeypatch):
    monkeypatch.setitem(BUILDERS, "dropping", dropping)
    still = {"learning_rate": 1e-30, "weight_decay": 0}
    (found,) = covariate_shift.measure([asked(normalizer=normalizer, model=model, **still)], digits)
    assert found.metrics["input_shift"] == found.metrics["gradient_shift_l2"] == 0
    assert found.metrics["gradient_shift_cosine"] == pytest.approx(1)


def test_the_step_that_earlier_layers_take_is_the_trainings_own(digits):
    settings = asked(depth="last", clip_gradient=0.5)
    run = accuracy.Run(training_of(settings), digits)
    watcher = covariate_shift.CovariateShift(run, settings)
    run.training.begin(0)
    mixed = copy.deepcopy(run.training.model)
    images, labels = run.train.batch(run.training.batches.order[0])
    last = [mixed[-1].weight, mixed[-1].bias]
    before = torch.autograd.grad(F.cross_entropy(mixed(images), labels), last)
    watcher.before(0)
    run.training.step()
    watcher.after(0)
    with torch.no_grad():
        for own, stepped in zip(mixed[:-1].parameters(), run.training.model[:-1].parameters(), strict=True):
            own.copy_(stepped)
    after = torch.autograd.grad(F.cross_entropy(mixed(images), labels), last)
    length = torch.cat([(new - old).flatten() for old, new in zip(before, after, strict=True)]).norm().item()
    assert watcher.gradients[0][0, 0].item() == pytest.approx(length, rel=1e-4)
    assert length > 1e-3


def test_all_is_the_mean_over_the_layers(digits):
    every, middle, last = covariate_shift.measure([asked(depth=depth) for depth in ("all", "middle", "last")], digits)
    for name in ("gradient_shift_cosine", "gradient_shift_l2", "input_shift"):
        by_layer = every.samples[f"{name}_by_layer"]
        assert len(by_layer) == 3
        assert sum(by_layer) / 3 == pytest.approx(every.metrics[name], rel=1e-9)
        assert [middle.metrics[name], last.metrics[name]] == pytest.approx(by_layer[1:], rel=1e-9)


def test_the_same_cell_gives_the_same_numbers_to_the_bit(digits):
    first, second = (covariate_shift.measure([asked(normalizer="batch_renorm")], digits)[0] for _ in range(2))
    assert first == second


def test_a_net_that_diverged_shows_nothing(digits):
    (ended,) = covariate_shift.measure([asked(learning_rate=1e25)], digits)
    assert isinstance(ended, Diverged)
