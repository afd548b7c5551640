"""Norms folded into the layers before them: the same results, and no norm left."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import normzoo
from normzoo_bench.speed.folding import affine, fold


def seen(model: nn.Module, *sizes: int) -> nn.Module:
    """Give a model in eval whose statistics are those of some data, and whose weights are nothing special."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
        for _ in range(3):
            model(torch.randn(8, *sizes) * 2 + 1)
    return model.double().eval()


def factory(name: str) -> type[nn.Module]:
    return normzoo.card(name).factory


@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm", "sync_batch_norm", "none"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_folded_net_gives_what_it_gave_before_without_its_norms(name, bias):
    model = seen(nn.Sequential(nn.Conv2d(3, 6, 3, bias=bias), normzoo.create(name, 6), nn.ReLU()), 3, 8, 8)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    before = model(x)
    assert fold(model, factory(name), lambda: model(x)) == (1, 1)
    assert not any(isinstance(one, factory(name)) for one in model.modules())
    torch.testing.assert_close(model(x), before)


def test_a_norm_after_a_linear_layer_is_folded_too():
    model = seen(nn.Sequential(nn.Linear(5, 6), normzoo.create("batch_norm", 6)), 5)
    # a norm of vectors is tried on maps: what it does to a channel does not depend on where
    x = torch.randn(4, 5, dtype=torch.float64)
    before = model(x)
    assert fold(model, factory("batch_norm"), lambda: model(x)) == (1, 1)
    torch.testing.assert_close(model(x), before)


def test_a_norm_that_no_layer_feeds_directly_stays():
    model = seen(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), normzoo.create("batch_norm", 6)), 3, 8, 8)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    before = model(x)
    assert fold(model, factory("batch_norm"), lambda: model(x)) == (0, 1)
    assert torch.equal(model(x), before)


class Twice(nn.Module):
    """One convolution that feeds two norms: it cannot hold both."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 6, 3)
        self.one, self.other = normzoo.create("batch_norm", 6), normzoo.create("batch_norm", 6)

    def forward(self, x):
        return self.one(self.layer(x)) + self.other(self.layer(x + 1))


def test_a_layer_that_is_called_twice_takes_no_norm():
    model = seen(Twice(), 3, 8, 8)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    before = model(x)
    assert fold(model, factory("batch_norm"), lambda: model(x)) == (0, 2)
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("name", ["group_norm", "layer_norm", "layer_norm_channels"])
def test_what_computes_statistics_in_inference_cannot_be_folded(name):
    with pytest.raises(ValueError, match="computes statistics in inference, and cannot be folded"):
        affine(seen(normzoo.create(name, 8), 8, 4, 4), 8)


def test_the_scale_and_the_shift_are_those_of_the_running_statistics():
    norm = seen(normzoo.create("batch_norm", 8), 8, 4, 4)
    scale, shift = affine(norm, 8)
    wanted = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    torch.testing.assert_close(scale, wanted.detach())
    torch.testing.assert_close(shift, (norm.bias - norm.running_mean * wanted).detach())
