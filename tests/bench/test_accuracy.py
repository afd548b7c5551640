"""The measure `accuracy`: pairing of seeds, determinism, divergence, what learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import normzoo
from normzoo_bench import accuracy, splits
from normzoo_bench.result import Diverged
from normzoo_bench.training.optimizer import optimizer

FIVE = ["batch_norm", "sync_batch_norm", "layer_norm", "group_norm", "batch_renorm"]


def test_the_same_cell_gives_the_same_numbers_to_the_bit(settings, digits):
    cell = settings(normalizer="batch_renorm", ranks=5, seed=3)
    assert accuracy.measure(cell, digits) == accuracy.measure(cell, digits)


def test_another_seed_gives_other_numbers(settings, digits):
    one, other = (accuracy.measure(settings(seed=seed), digits) for seed in (0, 1))
    assert one.metrics != other.metrics


@pytest.mark.parametrize("model", ["mlp", "small_convnet", "resnet20"])
def test_under_one_seed_all_normalizers_start_from_identical_other_weights(settings, digits, model):
    def others(name):
        built = accuracy.build(settings(normalizer=name, model=model), digits, steps=10)
        norms = tuple(normzoo.card(one).factory for one in normzoo.names())
        found = {}
        for path, module in built.named_modules():
            if not isinstance(module, norms):
                found |= {f"{path}.{key}": value for key, value in module.named_parameters(recurse=False)}
        return found

    first = others("batch_norm")
    assert len(first) > 3
    for name in [*FIVE[1:], "none", "layer_norm_channels"]:
        again = others(name)
        assert first.keys() == again.keys()
        assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", ["sync_batch_norm", "layer_norm", "group_norm", "none"])
def test_what_pools_over_no_part_is_the_same_to_the_bit_at_every_ranks(settings, digits, name):
    one, many = (accuracy.measure(settings(normalizer=name, ranks=ranks), digits) for ranks in (1, 20))
    assert one.metrics["test_accuracy"] == many.metrics["test_accuracy"]
    assert one.series == many.series


def test_sync_batch_norm_at_any_ranks_is_batch_norm_at_one(settings, digits):
    sync = accuracy.measure(settings(normalizer="sync_batch_norm", ranks=5), digits)
    assert sync.series == accuracy.measure(settings(), digits).series


def test_two_samples_per_statistic_hurt_batch_norm_on_the_digits(settings, digits):
    whole, two = (accuracy.measure(settings(epochs=3, ranks=ranks), digits) for ranks in (1, 20))
    assert whole.metrics["test_accuracy"] > 0.9
    assert two.metrics["test_accuracy"] < whole.metrics["test_accuracy"] - 0.1
    assert two.metrics["local_batch"] == 2


def test_a_loss_that_is_not_finite_is_diverged_with_what_is_known(settings, digits):
    with pytest.raises(Diverged, match=r"not finite in epoch 1 of 1") as caught:
        accuracy.measure(settings(normalizer="none", learning_rate=1e6), digits)
    assert caught.value.result.metrics == {"chance_accuracy": 0.1, "local_batch": 40.0}


def test_batch_renorm_is_built_with_a_ramp_over_the_first_quarter_and_says_so(settings, digits):
    steps = 1437 // 40 * 2
    result = accuracy.measure(settings(normalizer="batch_renorm", epochs=2), digits)
    assert result.options["average"] == "cumulative"
    assert result.options["warmup_steps"] == steps // 4


def test_an_option_in_the_setting_wins_over_what_the_run_suggests(settings, digits):
    cell = settings(normalizer="batch_renorm(warmup_steps=7)")
    options = accuracy.measure(cell, digits).options
    assert (options["average"], options["warmup_steps"]) == ("cumulative", 7)


def test_the_options_are_read_off_the_layers_not_off_the_request(settings, digits):
    assert accuracy.measure(settings(normalizer="group_norm"), digits).options == {"groups": 32, "eps": 1e-5}
    options = accuracy.measure(settings(normalizer="group_norm", model="resnet20", train_samples=80), digits).options
    assert options["groups"] == [8, 16, 32]


def test_a_weight_that_the_model_excepts_is_not_decayed(settings):
    model = nn.Module()
    model.pos_embed, model.head = nn.Parameter(torch.ones(1, 2, 3)), nn.Linear(3, 2)
    model.no_weight_decay = lambda: {"pos_embed"}
    free, decayed = optimizer(model, settings()).param_groups
    assert [id(p) for p in decayed["params"]] == [id(model.head.weight)]
    assert id(model.pos_embed) in {id(p) for p in free["params"]}


def test_a_feed_gives_mean_0_and_deviation_1_by_the_training_part(digits):
    train, test = accuracy.feeds(*digits.parts(0, "all"), "cpu")
    images, _ = train.batch(slice(None))
    assert images.mean().abs() < 1e-5
    assert images.std() == pytest.approx(1, abs=1e-3)
    assert torch.equal(train.mean, test.mean)
    assert train.images.dtype == torch.uint8


def test_both_readings_are_given_only_where_one_training_has_both(settings, digits):
    def readings(**changes):
        return "test_accuracy_mean_buffers" in accuracy.measure(settings(**changes), digits).metrics

    assert readings(ranks=5)
    assert not readings(ranks=1)
    assert not readings(normalizer="batch_renorm", ranks=5)
    assert not readings(normalizer="group_norm", ranks=5)


def test_the_mean_reading_of_a_rank0_run_is_the_reading_of_a_mean_run(settings, digits):
    rank0 = accuracy.measure(settings(ranks=5, split="exclusive_classes"), digits)
    mean = accuracy.measure(settings(ranks=5, split="exclusive_classes", buffers="mean"), digits)
    assert rank0.metrics["test_accuracy_mean_buffers"] == mean.metrics["test_accuracy"]


def test_the_linear_rule_scales_the_rate_with_the_batch(settings):
    assert settings(batch_size=64, learning_rate="linear(rate=0.1, per=256)").rate() == pytest.approx(0.025)


def test_weight_decay_leaves_norms_and_biases_alone(settings):
    model = nn.Sequential(nn.Linear(3, 4), normzoo.create("group_norm", 4))
    free, decayed = optimizer(model, settings(weight_decay=0.1)).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)]
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0
    assert len(free["params"]) == 3


def test_training_agrees_with_a_loop_written_out_by_hand(settings, digits):
    """SGD with Nesterov momentum and a cosine, step by step, on the samples that the split names."""
    cell = settings(batch_size=200, weight_decay=0.0)
    result = accuracy.measure(cell, digits)
    part, _ = digits.parts(0, "all")
    pixels = part.images.double()
    images = ((pixels - pixels.mean()) / pixels.std(correction=0)).float()
    model = accuracy.build(cell, digits, steps=7)
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    losses = []
    order = torch.from_numpy(splits.epochs(cell, part.labels.numpy())(0))
    for step, index in enumerate(order):
        rate = 0.05 * (1 + torch.cos(torch.tensor(torch.pi * step / len(order))).item())
        loss = nn.functional.cross_entropy(model(images[index]), part.labels[index])
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                v.mul_(0.9).add_(g)
                p.sub_(rate * (g + 0.9 * v))
    assert result.series["train_loss"][0] == pytest.approx(sum(losses) / len(losses), rel=1e-4)
