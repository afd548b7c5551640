"""Gradients by layer, against linear nets in which they are known, and the trainings that they are looked at in."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from normzoo_bench import accuracy, models
from normzoo_bench.insights import gradients
from normzoo_bench.insights.watched import watch_steps
from normzoo_bench.result import CannotRun
from normzoo_suites.settings import GradientsSettings, training_of


@pytest.fixture
def asked():
    def build(**changes):
        small = {"normalizer": "batch_norm", "dataset": "digits", "model": "small_convnet", "epochs": 2}
        small |= {"batch_size": 32, "train_samples": 128, "after": 5}
        return GradientsSettings.model_validate(small | changes)

    return build


def linear_net(layers, gain, wide=6):
    """Linear layers whose weights are orthogonal matrices times the gain, float64."""
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(wide, wide, bias=False) for _ in range(layers))).double()
    for layer in net:
        nn.init.orthogonal_(layer.weight, gain)
    return net


def norms_of(net, wide=6):
    x = torch.randn(1, wide, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    along = torch.randn(1, wide, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return gradients.gradient_norms(net, lambda: (net(x) * along).sum()), x.norm().item(), along.norm().item()


@pytest.mark.parametrize("gain", [0.1, 1.0, 3.0])
def test_in_an_orthogonal_net_of_a_gain_each_layer_on_the_way_back_multiplies_by_it(gain):
    (given, _), _, along = norms_of(linear_net(7, gain))
    expected = [along * gain ** (6 - layer) for layer in range(7)]
    assert given.tolist() == pytest.approx(expected, rel=1e-12)
    assert gradients.decades(given) == pytest.approx(5 * math.log10(gain), abs=1e-12)


@pytest.mark.parametrize("gain", [0.1, 3.0])
def test_there_the_gradients_of_weights_have_one_norm_which_hides_it(gain):
    """What is lost on the way back is what was lost on the way forth (Glorot and Bengio 2010, section 4.2.2)."""
    (_, weights), x, along = norms_of(linear_net(7, gain))
    assert weights.tolist() == pytest.approx([along * x * gain**6] * 7, rel=1e-12)
    assert gradients.decades(weights) == pytest.approx(0, abs=1e-12)


def test_norms_are_those_that_autograd_gives_of_the_weights():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    net.double()
    x = torch.randn(5, 1, 4, 4, dtype=torch.float64)
    _, weights = gradients.gradient_norms(net, lambda: net(x).square().sum())
    net(x).square().sum().backward()
    expected = [layer.weight.grad.norm().item() for layer in net if hasattr(layer, "weight")]
    assert weights.tolist() == pytest.approx(expected, rel=1e-12)


def test_what_follows_a_layer_may_write_into_what_it_gave():
    nets = [nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=one), nn.Linear(4, 2)).double() for one in (False, True)]
    nets[1].load_state_dict(nets[0].state_dict())
    x = torch.randn(3, 4, dtype=torch.float64)
    plain, inplace = (gradients.gradient_norms(net, lambda net=net: net(x).square().sum()) for net in nets)
    assert torch.equal(torch.stack(plain), torch.stack(inplace))


def test_a_layer_that_is_called_twice_has_the_norm_of_both_and_one_never_called_has_none():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.idle, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)

        def forward(self, x):
            return self.last(self.one(x) + self.one(2 * x))

    net = Twice().double()
    given, weights = gradients.gradient_norms(net, lambda: net(torch.ones(1, 3, dtype=torch.float64)).sum())
    assert given[0].item() == pytest.approx(math.sqrt(2) * net.last.weight.norm().item())
    assert (given[1], weights[1]) == (0, 0)


def test_a_gain_of_weights_before_batch_norm_divides_their_gradient_and_no_other_layer_s():
    """1502.03167, section 3.3: ∂BN((aW)u)/∂(aW) = 1/a · ∂BN(Wu)/∂W, and ∂BN((aW)u)/∂u is the same."""
    torch.manual_seed(0)
    hidden = [part for _ in range(2) for part in (nn.Linear(6, 6), nn.BatchNorm1d(6, eps=1e-12), nn.Tanh())]
    net = nn.Sequential(*hidden, nn.Linear(6, 2)).double()
    x = torch.randn(9, 6, dtype=torch.float64)
    _, before = gradients.gradient_norms(net, lambda: net(x).square().sum())
    net[3].weight.data *= 10
    net[3].bias.data *= 10
    _, after = gradients.gradient_norms(net, lambda: net(x).square().sum())
    assert (after / before).tolist() == pytest.approx([1, 0.1, 1], rel=1e-6)


@pytest.mark.parametrize(
    ("norms", "told"),
    [
        ([1e-4, 9.0, 1.0, 7.0], -4.0),
        ([0.0, 0.0, 0.0], -gradients.LIMIT),
        ([0.0, 1.0, 1.0], -gradients.LIMIT),
        ([1.0, 0.0, 1.0], gradients.LIMIT),
        ([1.0, math.inf, 1.0], gradients.LIMIT),
        ([math.nan, 1.0, 1.0], gradients.LIMIT),
        ([1e-200, 1.0, 1.0], -gradients.LIMIT),
    ],
)
def test_decades_are_of_the_first_layer_against_the_last_but_one(norms, told):
    assert gradients.decades(torch.tensor(norms, dtype=torch.float64)) == pytest.approx(told)


def test_a_single_hidden_layer_has_nothing_to_compare():
    with pytest.raises(CannotRun, match="the model has 1 of them"):
        gradients.decades(torch.ones(2, dtype=torch.float64))


def test_plain_nets_with_batch_norm_explode_at_initialization_as_mean_field_theory_says():
    """Yang et al. 2019 (arXiv:1902.08129): with ReLU it grows by √(π/(π − 1)) = 1.21 per layer on the way back."""
    torch.manual_seed(0)
    layers = [part for _ in range(40) for part in (nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU())]
    net = nn.Sequential(*layers, nn.Linear(256, 10))
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=256**-0.5)
    x = torch.randn(256, 256)
    given, _ = gradients.gradient_norms(net, lambda: nn.functional.cross_entropy(net(x), torch.arange(256) % 10))
    rate = (given[5] / given[35]) ** (1 / 30)
    assert rate.item() == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=0.03)


@pytest.mark.parametrize("normalizer", ["batch_norm", "batch_renorm", "none"])
def test_looking_leaves_the_training_as_accuracy_has_it_to_the_bit(asked, digits, normalizer, monkeypatch):
    seen = []
    given = gradients.watch_steps
    monkeypatch.setattr(gradients, "watch_steps", lambda run, look: seen.append(run) or given(run, look))
    cells = [asked(normalizer=normalizer, after=steps) for steps in (1, 5, 100)]
    ended = gradients.measure(cells, digits)
    plain = accuracy.Run(training_of(cells[0]), digits)
    accuracy.finish(plain)
    (looked,) = seen
    assert looked.training.series == plain.training.series
    told = plain.training.model.state_dict()
    assert all(torch.equal(one, told[name]) for name, one in looked.training.model.state_dict().items())
    assert (
        ended[0].metrics["final_accuracy"] == accuracy.measure(training_of(cells[0]), digits).metrics["test_accuracy"]
    )


def test_a_model_that_draws_draws_what_it_draws_unwatched(asked, digits, monkeypatch):
    def dropping(shape, classes):
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Dropout(0.5), nn.Linear(32, classes)
        )

    monkeypatch.setitem(models.registry.BUILDERS, "dropping", dropping)
    plain, looked = (accuracy.Run(training_of(asked(model="dropping")), digits) for _ in range(2))
    watch_steps(plain, lambda _: None)
    watch_steps(looked, lambda _: torch.rand(3))
    assert looked.training.series == plain.training.series


def test_cells_that_differ_in_after_alone_share_a_training_and_a_start(asked, digits, monkeypatch):
    begun = []
    given = gradients.Run
    monkeypatch.setattr(gradients, "Run", lambda *told: begun.append(1) or given(*told))
    early, late, beyond = gradients.measure([asked(after=n) for n in (1, 8, 1000)], digits)
    assert len(begun) == 1
    assert early.samples["gradient_start"] == late.samples["gradient_start"]
    assert early.samples["gradient_after"] != late.samples["gradient_after"]
    assert late.samples == beyond.samples  # 128 samples in batches of 32, twice, are 8 steps


def test_every_layer_has_its_norms(asked, digits):
    (ended,) = gradients.measure([asked(model="resnet8")], digits)
    assert {len(values) for values in ended.samples.values()} == {8}


def test_a_training_that_diverges_is_a_result(asked, digits):
    (ended,) = gradients.measure([asked(learning_rate=1e25)], digits)
    assert (ended.metrics["trained"], ended.metrics["exploding"]) == (0, 1)
    assert ended.metrics["final_accuracy"] == ended.metrics["chance_accuracy"] == 0.1
    assert all(math.isfinite(one) for values in ended.samples.values() for one in values)


def test_a_net_that_learns_is_trained_and_one_that_cannot_is_not(asked, digits):
    learns, stays = (
        gradients.measure([asked(model="mlp", train_samples=600, epochs=4, learning_rate=rate)], digits)[0].metrics
        for rate in (0.1, 1e-9)
    )
    assert (learns["trained"], stays["trained"]) == (1, 0)
    assert learns["final_accuracy"] > 0.8 > 0.3 > stays["final_accuracy"]


def test_deep_sigmoid_nets_vanish_at_initialization_without_normalization(asked, digits):
    """A sigmoid's slope is at most 1/4: seven of them take more than four decades."""
    (none,) = gradients.measure([asked(model="mlp_sigmoid_deep", normalizer="none", epochs=1)], digits)
    assert none.metrics["gradient_decades_start"] < -4
    assert (none.metrics["vanishing"], none.metrics["exploding"]) == (1, 0)


@pytest.mark.parametrize("normalizer", ["layer_norm", "group_norm", "sync_batch_norm", "layer_norm_channels"])
def test_every_normalizer_can_be_looked_at(asked, digits, normalizer):
    (ended,) = gradients.measure([asked(normalizer=normalizer, epochs=1)], digits)
    assert set(GradientsSettings.METRICS) <= set(ended.metrics)


def test_the_same_cell_gives_the_same_numbers_to_the_bit(asked, digits):
    first, second = (gradients.measure([asked()], digits)[0] for _ in range(2))
    assert first == second


def test_a_layer_that_gets_too_few_values_is_told(asked, digits):
    (ended,) = gradients.measure([asked(model="mlp", batch_size=1, train_samples=4)], digits)
    assert isinstance(ended, CannotRun)
