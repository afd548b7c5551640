"""Batch effects: drawn per part, the same to all its samples, and read as they were trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from normzoo_bench import accuracy, checks, commands
from normzoo_bench.errors import UsageError
from normzoo_bench.training.affected import AffectedBatches, affected
from normzoo_bench.training.batchwise import iid_batches
from normzoo_bench.training.effects import effects
from normzoo_bench.training.feed import feeds
from normzoo_bench.training.trainer import ResidentBatches


def both(settings, digits, **changes):
    """Give the same first batch with effects and without: images [N, C, H, W] and labels, twice."""
    asked = settings(**({"ranks": 5} | changes))
    plain = asked.model_copy(update={"effects": "none"})
    train, _ = feeds(*digits.parts(0, "all"), "cpu")
    pair = AffectedBatches(train, asked, 10), ResidentBatches(train, plain)
    for one in pair:
        one.begin(3)
    return *pair[0].take(), *pair[1].take()


def test_a_nuisance_scales_and_shifts_each_part_by_numbers_of_its_own(settings, digits):
    images, labels, plain, same = both(settings, digits, effects="nuisance(shift=2, scale=0.5)")
    assert torch.equal(labels, same)
    fits = []
    for rank in range(5):
        x, y = plain[rank::5].flatten().double().numpy(), images[rank::5].flatten().double().numpy()
        scale, shift = np.polyfit(x, y, 1)
        np.testing.assert_allclose(y, scale * x + shift, atol=1e-4)
        fits.append((round(scale, 3), round(shift, 3)))
    assert len(set(fits)) == 5


def test_by_sample_each_has_its_own(settings, digits):
    images, _, plain, _ = both(settings, digits, effects="nuisance(by=sample)")
    fits = {round(float(np.polyfit(x.flatten(), y.flatten(), 1)[1]), 4) for x, y in zip(plain, images, strict=True)}
    assert len(fits) == 40


def test_a_signal_is_the_label_of_all_its_part(settings, digits):
    images, labels, plain, _ = both(settings, digits, effects="signal(shift=3)")
    for rank in range(5):
        (level,) = set(labels[rank::5].tolist())
        expected = 3 * (2 * level / 9 - 1)
        torch.testing.assert_close(images[rank::5] - plain[rank::5], torch.full_like(plain[rank::5], expected))


def test_levels_are_drawn_evenly():
    _, levels = effects("signal").draw(np.random.default_rng(0), 4000, 1, 2, 10)
    assert levels.shape == (4000, 2)
    counts = np.bincount(levels[:, 0], minlength=10)
    assert abs(counts - 400).max() < 5 * np.sqrt(400)


def test_the_moments_of_a_nuisance_are_those_that_its_options_say():
    felt, _ = effects("nuisance(shift=2, scale=0.5)").draw(np.random.default_rng(0), 20_000, 1, 1, 10)
    assert np.log(felt[..., 0]).std() == pytest.approx(0.5, rel=0.02)
    assert felt[..., 1].std() == pytest.approx(2, rel=0.02)
    assert abs(felt[..., 1].mean()) < 0.05


def test_a_batch_that_is_read_shares_an_effect_and_batches_do_not(settings, digits):
    asked = settings(ranks=5, effects="signal")
    _, held = feeds(*digits.parts(0, "all"), "cpu")
    read = affected(held, asked, 10, "test")
    batches = iid_batches(0, len(held), 8)
    groups = [set(read.labels[own[counts]].tolist()) for own, counts in zip(*batches, strict=True)]
    assert all(len(group) == 1 for group in groups)
    assert len(set.union(*groups)) > 5
    (images, labels), (plain, _) = read.batch(slice(None)), held.batch(slice(None))
    shifts = (images - plain).flatten(1)
    torch.testing.assert_close(shifts, (3 * (2 * labels / 9 - 1)).view(-1, 1).expand_as(shifts), atol=1e-4, rtol=1e-4)


def test_a_statistic_over_the_part_removes_the_signal_and_one_over_mixed_samples_does_not(settings, digits):
    shared, mixed = (
        accuracy.measure(settings(ranks=5, epochs=4, effects=f"signal(by={by})"), digits).metrics
        for by in ("part", "sample")
    )
    assert shared["train_accuracy"] < 0.2  # chance is 0.1
    assert mixed["test_accuracy"] > 0.6


def test_batch_statistics_undo_a_nuisance_that_running_statistics_cannot(settings, digits):
    asked = settings(ranks=5, epochs=6, readings="all", effects="nuisance(shift=3, scale=1)")
    metrics = accuracy.measure(asked, digits).metrics
    assert metrics["train_accuracy"] > 0.8
    assert metrics["test_accuracy_batch"] > metrics["test_accuracy"] + 0.2


def test_training_is_the_same_to_the_bit_each_time_and_draws_anew_each_epoch(settings, digits):
    asked = settings(ranks=5, effects="nuisance")
    train, _ = feeds(*digits.parts(0, "all"), "cpu")
    first, second = (AffectedBatches(train, asked, 10) for _ in range(2))
    first.begin(0), second.begin(0)
    assert torch.equal(first.felt, second.felt)
    second.begin(1)
    assert not torch.equal(first.felt, second.felt)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nuissance", "unknown effects 'nuissance'; did you mean 'nuisance'"),
        ("nuisance(width=1)", "unknown option 'width' of the effects nuisance; known: by, scale, shift"),
        ("nuisance(scale=-1)", "scale of the effects nuisance must be a number from 0 up to 100, got -1"),
        ("signal(shift=0)", "shift of the effects signal must be a number above 0 up to 100, got 0"),
        ("signal(by=class)", "by of the effects signal must be one of part, sample, got 'class'"),
    ],
)
def test_mistakes_are_named(text, said):
    with pytest.raises(UsageError, match=said):
        effects(text)


def test_one_thing_at_a_time_is_said_before_anything_is_trained():
    asked = {"effects": "signal", "split": "exclusive_classes", "ranks": "5"}
    with pytest.raises(UsageError, match="effects signal need split iid, got exclusive_classes: one thing at a time"):
        commands.plan("quick", settings=asked, seeds=1)


def test_effects_make_ranks_matter_to_every_normalizer():
    plan = commands.plan("quick", settings={"effects": "signal", "split": "iid"}, normalizers=["group_norm"], seeds=1)
    assert not any(cell.same_as for cell in plan.cells)
    assert checks.effects.effects("none").changes is False
