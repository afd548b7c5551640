"""Learning rates by their formulas, and optimizers by their settings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from normzoo_bench import accuracy
from normzoo_bench.training.optimizer import optimizer, rates


def test_a_cosine_falls_from_the_rate_to_0_over_all_steps(settings):
    curve = rates(settings(epochs=4, learning_rate=0.4), steps=5)
    assert curve == pytest.approx([0.2 * (1 + math.cos(math.pi * step / 20)) for step in range(20)])


def test_a_warm_up_rises_linearly_and_the_cosine_follows_it(settings):
    curve = rates(settings(epochs=4, warmup_epochs=1, learning_rate=0.4), steps=5)
    assert curve[:5] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    assert curve[5:] == pytest.approx([0.2 * (1 + math.cos(math.pi * step / 15)) for step in range(15)])


def test_a_constant_rate_is_constant(settings):
    assert rates(settings(epochs=2, schedule="constant"), steps=3) == pytest.approx([0.1] * 6)


def test_adamw_is_torchs_with_the_rate_and_decay_that_were_asked_for(settings):
    made = optimizer(nn.Linear(3, 2), settings(optimizer="adamw", learning_rate=0.01, weight_decay=0.2))
    assert isinstance(made, torch.optim.AdamW)
    assert {(group["lr"], group["weight_decay"]) for group in made.param_groups} == {(0.01, 0.0), (0.01, 0.2)}


def test_sgd_has_nesterovs_momentum(settings):
    (group, _) = optimizer(nn.Linear(3, 2), settings()).param_groups
    assert (group["momentum"], group["nesterov"]) == (0.9, True)


@pytest.mark.parametrize("changes", [{"optimizer": "adamw", "learning_rate": 0.01}, {"label_smoothing": 0.1}])
def test_what_is_asked_for_reaches_the_training_and_it_learns(settings, digits, changes):
    plain = accuracy.measure(settings(epochs=2), digits)
    changed = accuracy.measure(settings(epochs=2, **changes), digits)
    assert changed.series != plain.series
    assert changed.metrics["test_accuracy"] > 0.9


def test_label_smoothing_is_torchs(settings, digits):
    """A net that gives equal logits has the same loss whatever the smoothing; the gradients tell them apart."""
    smoothed = accuracy.measure(settings(epochs=2, label_smoothing=0.9), digits)
    assert smoothed.series["train_loss"][-1] > math.log(10) - 0.2  # the least loss is nearly that of the uniform


def test_bfloat16_autocast_trains_on_a_cpu_with_float32_weights(settings, digits):
    result = accuracy.measure(settings(epochs=2, precision="bfloat16"), digits)
    assert result.metrics["test_accuracy"] > 0.9
    assert result.series != accuracy.measure(settings(epochs=2, precision="float32"), digits).series


def test_channels_last_gives_the_same_training_but_for_rounding(settings, digits):
    small = {"model": "small_convnet", "train_samples": 400, "epochs": 1, "ranks": 2}
    first, last = (
        accuracy.measure(settings(**small, layout=one), digits).series["train_loss"]
        for one in ("contiguous", "channels_last")
    )
    assert first == pytest.approx(last, rel=1e-3)


def test_momentum_that_counts_samples_is_what_equal_memory_needs(settings, digits):
    """(1 − m)^(samples / batch size) of the old statistics is left after so many samples, at every batch size."""
    left = []
    for size in (40, 10):
        cell = settings(batch_size=size, momentum_counts="samples(per=40)", normalizer="batch_norm(momentum=0.2)")
        options = accuracy.measure(cell, digits).options
        left.append((1 - options["momentum"]) ** (40 / size))
    assert left == pytest.approx([0.8, 0.8])


def test_momentum_that_counts_steps_is_left_alone(settings, digits):
    assert accuracy.measure(settings(batch_size=10), digits).options["momentum"] == 0.1


def test_momentum_that_counts_samples_is_nothing_to_what_has_none(settings, digits):
    cell = settings(normalizer="group_norm", momentum_counts="samples(per=20)")
    assert accuracy.measure(cell, digits).series == accuracy.measure(settings(normalizer="group_norm"), digits).series
