"""Dealing changes what shares a statistic and nothing else; splits do to batch norm what they are known to do."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from normzoo_bench import accuracy

DEALINGS = ["by_class", "classes(k=2)", "dirichlet(alpha=0.1)"]
BLIND = ["sync_batch_norm", "group_norm", "layer_norm", "none"]  # to how a step is dealt


def first_gradient(settings, digits, **changes):
    """Give the gradient of the first step, all parameters in one vector."""
    asked = settings(**({"batch_size": 80, "ranks": 10, "draw": "balanced"} | changes))
    training = accuracy.Run(asked, digits).training
    training.begin(0)
    images, labels = training.batches.take()
    F.cross_entropy(training.model(images), labels).backward()
    return torch.cat([p.grad.flatten() for p in training.model.parameters()])


@pytest.mark.parametrize(("model", "augment"), [("mlp", "none"), ("small_convnet", "crop_flip(padding=1)")])
@pytest.mark.parametrize("dealing", DEALINGS)
@pytest.mark.parametrize("normalizer", BLIND)
def test_the_control_s_first_gradient_is_that_of_shuffled_dealing(
    settings, digits, normalizer, dealing, model, augment
):
    dealt, shuffled = (
        first_gradient(settings, digits, normalizer=normalizer, dealing=one, model=model, augment=augment)
        for one in (dealing, "shuffled")
    )
    torch.testing.assert_close(dealt, shuffled, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dealing", DEALINGS)
@pytest.mark.parametrize("normalizer", ["batch_norm", "batch_renorm"])
def test_dealing_reaches_what_pools_over_a_part(settings, digits, normalizer, dealing):
    # batch renorm begins as batch norm: its limits open with the run
    dealt, shuffled = (
        first_gradient(settings, digits, normalizer=normalizer, dealing=one) for one in (dealing, "shuffled")
    )
    assert (dealt - shuffled).norm() > 0.1 * shuffled.norm()


def test_features_reach_training_and_test_images_of_every_rank_but_the_first(settings, digits):
    plain, shifted = (accuracy.Run(settings(ranks=5, split=split), digits) for split in ("iid", "features"))
    changed = (plain.held.images != shifted.held.images).flatten(1).any(1)
    ranks = torch.arange(len(changed)) % 5
    assert [float(changed[ranks == rank].float().mean()) for rank in range(5)] == pytest.approx([0, 1, 1, 1, 1])
    share = (plain.train.images != shifted.train.images).flatten(1).any(1).float().mean()
    assert share == pytest.approx(0.8, abs=0.01)


def test_a_record_tells_who_had_which_classes(settings, digits):
    result = accuracy.measure(settings(ranks=5, split="exclusive_classes"), digits)
    counts = torch.tensor(result.split["labels"])
    assert counts.shape == (5, 10)
    assert ((counts > 0).sum(0) == 1).all()  # one owner each
    assert counts.sum() == len(digits.parts(0, "all")[0].labels)
    assert accuracy.measure(settings(ranks=5), digits).split == {}


@pytest.mark.slow
def test_exclusive_classes_break_batch_norm_and_statistics_over_ranks_repair_it(settings, digits):
    found = {
        (normalizer, split): accuracy.measure(
            settings(normalizer=normalizer, ranks=5, split=split, epochs=6), digits
        ).metrics["test_accuracy"]
        for normalizer in ("batch_norm", "sync_batch_norm", "group_norm")
        for split in ("iid", "exclusive_classes")
    }
    lost = {one: found[one, "iid"] - found[one, "exclusive_classes"] for one, _ in found}
    assert lost["batch_norm"] > 0.2
    assert abs(lost["sync_batch_norm"]) < 0.02
    assert abs(lost["group_norm"]) < 0.02
