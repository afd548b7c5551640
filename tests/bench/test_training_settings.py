"""Label noise, initial gain and clipping: each changes what it names, and nothing else."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from normzoo_bench import accuracy
from normzoo_bench.insights.trained import norm_layers
from normzoo_suites.settings import AccuracySettings, TrainingSettings, training_of


def weights(run):
    return {name: one.detach().clone() for name, one in run.training.model.named_parameters()}


def begun(settings, digits, **changes):
    return accuracy.Run(settings(train_samples=400, **changes), digits)


def test_a_share_of_the_training_labels_is_wrong_and_no_test_label(settings, digits):
    plain, noisy = begun(settings, digits), begun(settings, digits, label_noise=0.25)
    assert (plain.train.labels != noisy.train.labels).sum() == 100
    assert torch.equal(plain.held.labels, noisy.held.labels)
    assert torch.equal(plain.train.images, noisy.train.images)
    assert set(noisy.train.labels.tolist()) == set(range(10))


def test_wrong_labels_are_any_of_the_other_classes_alike():
    changed = accuracy.noisy(torch.zeros(9000, dtype=torch.int64), 0.999, seed=3, classes=10)
    counts = torch.bincount(changed, minlength=10)
    assert counts[0] == 9
    assert (counts[1:] - 999).abs().max() < 5 * 999**0.5


def test_noise_is_drawn_by_the_seed_and_the_same_under_every_normalizer(settings, digits):
    first, second = (begun(settings, digits, label_noise=0.3, normalizer=name) for name in ("batch_norm", "none"))
    other = begun(settings, digits, label_noise=0.3, seed=1)
    assert torch.equal(first.train.labels, second.train.labels)
    assert not torch.equal(first.train.labels, other.train.labels)


@pytest.mark.parametrize("model", ["mlp", "small_convnet"])
def test_the_gain_multiplies_convolutions_and_linear_layers_and_nothing_else(settings, digits, model):
    plain, scaled = (begun(settings, digits, model=model, initial_gain=gain) for gain in (1.0, 4.0))
    norms = [one.weight for one in norm_layers(plain.training.model, plain.settings)]
    assert norms
    scaled_weights = weights(scaled)
    for name, own in plain.training.model.named_parameters():
        factor = 4.0 if name.endswith("weight") and not any(own is norm for norm in norms) else 1.0
        assert torch.equal(scaled_weights[name], own * factor), name


def test_a_clipped_step_moves_by_the_learning_rate_times_the_norm(settings, digits):
    asked = {"clip_gradient": 1e-3, "weight_decay": 0.0, "schedule": "constant", "learning_rate": 0.5}
    run = begun(settings, digits, **asked)
    before = weights(run)
    run.training.begin(0)
    run.training.step()
    moved = torch.stack([(own - before[name]).square().sum() for name, own in weights(run).items()]).sum().sqrt()
    # Nesterov's first step is (1 + 0.9) times the gradient's
    assert moved.item() == pytest.approx(0.5 * 1.9 * 1e-3, rel=1e-3)


def test_a_gradient_below_the_limit_is_left_as_it_is(settings, digits):
    plain, clipped = (begun(settings, digits, clip_gradient=limit) for limit in (0.0, 1e9))
    for run in (plain, clipped):
        accuracy.finish(run)
    assert all(torch.equal(own, weights(plain)[name]) for name, own in weights(clipped).items())


@pytest.mark.parametrize("given", [{"data": "stream"}, {"effects": "signal(shift=3)"}])
def test_noise_is_refused_where_labels_do_not_lie_ready(settings, given):
    with pytest.raises(ValidationError, match="label_noise replaces labels that lie ready; it needs"):
        settings(label_noise=0.1, **given)


def test_a_training_is_spelt_alike_by_every_measure_that_looks_into_one():
    assert set(TrainingSettings.model_fields) < set(AccuracySettings.model_fields)
    given = {"normalizer": "none", "dataset": "digits", "model": "mlp", "epochs": 3, "batch_size": 20, "seed": 7}
    own = TrainingSettings.model_validate(given | {"label_noise": 0.1})
    assert training_of(own) == AccuracySettings.model_validate(given | {"label_noise": 0.1})
