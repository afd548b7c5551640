"""Virtual ranks against what ranks are: one layer per rank, on its own part of the batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import normzoo
from normzoo_bench.ranks import VirtualRanks, virtualize

RANKS = 4


def wrapped(name, buffers="rank0", channels=3, **options):
    layer = normzoo.create(name, channels, **options).double()
    return VirtualRanks(layer, normzoo.card(name), RANKS, buffers)


def by_hand(layer, batches, buffers):
    """Run W copies of a layer, one per rank, as DDP would; give the outputs and the buffers that it would save."""
    copies = [copy.deepcopy(layer) for _ in range(RANKS)]
    outputs = []
    for x in batches:
        y = torch.empty_like(x)
        for rank, own in enumerate(copies):
            y[rank::RANKS] = own(x[rank::RANKS])
        outputs.append(y)
        for buffer in zip(*(list(own.buffers()) for own in copies), strict=True):
            kept = buffer[0] if buffers == "rank0" or not buffer[0].is_floating_point() else torch.stack(buffer).mean(0)
            for one in buffer:
                one.data = kept.clone()
    return outputs, dict(copies[0].named_buffers()), copies


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])  # folded into channels; one call per part
@pytest.mark.parametrize("buffers", ["rank0", "mean"])
@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm"])
def test_virtual_ranks_compute_what_a_layer_per_rank_computes(name, buffers, layout):
    torch.manual_seed(0)
    layer = wrapped(name, buffers)
    batches = [torch.randn(16, 3, 2, 2, dtype=torch.double) * (step + 1) + step for step in range(3)]
    if layout == "channels_last":
        batches = [x.contiguous(memory_format=torch.channels_last) for x in batches]
    expected, kept, _ = by_hand(layer.inner, batches, buffers)
    outputs = [layer(x) for x in batches]
    for got, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(got, wanted)
        assert got.stride() == wanted.stride()
    layer.read(buffers)
    for buffer_name, buffer in layer.inner.named_buffers():
        torch.testing.assert_close(buffer, kept[buffer_name])


@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm"])
def test_the_gradients_are_those_of_the_mean_loss_over_all_ranks(name):
    torch.manual_seed(0)
    layer = wrapped(name)
    x = torch.randn(16, 3, 2, 2, dtype=torch.double)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    (expected,), _, copies = by_hand(layer.inner, [theirs], "rank0")
    weight = torch.randn_like(x)
    (expected * weight).mean().backward()
    (layer(ours) * weight).mean().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    for name_, parameter in layer.inner.named_parameters():
        torch.testing.assert_close(parameter.grad, sum(dict(own.named_parameters())[name_].grad for own in copies))


def test_one_training_of_batch_norm_gives_both_readings_of_its_buffers():
    torch.manual_seed(0)
    batches = [torch.randn(16, 3, dtype=torch.double) + step for step in range(3)]
    layer = wrapped("batch_norm", "rank0")
    for x in batches:
        layer(x)
    for buffers in ("rank0", "mean"):
        _, kept, _ = by_hand(normzoo.create("batch_norm", 3).double(), batches, buffers)
        layer.read(buffers)
        torch.testing.assert_close(layer.inner.running_mean, kept["running_mean"])
        torch.testing.assert_close(layer.inner.running_var, kept["running_var"])


def test_a_layer_that_sets_its_buffers_anew_is_followed_as_well():
    class Assigns(nn.Module):
        def __init__(self, num_features: int) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(num_features))

        def forward(self, x):
            self.seen = self.seen + x.detach().mean(0)  # another tensor, where batch norm writes into its own
            return x

    claims = {"paper": "none", "year": None, "running_stats": True}
    card = normzoo.Card("assigns", Assigns, pools=frozenset({"batch", "space"}), **claims)
    layer = VirtualRanks(Assigns(3), card, RANKS, "mean")
    x = torch.randn(16, 3)
    layer(x), layer(x)
    layer.read("mean")
    torch.testing.assert_close(layer.inner.seen, 2 * x.mean(0))


@pytest.mark.parametrize("ranks", [RANKS, 8])  # one call per part; folded
def test_a_token_models_layers_are_dealt_by_sample_and_give_their_layout_back(ranks, monkeypatch):
    """LayerNorm over [N, T, C], converted: the parts are samples, the channels the last axis."""
    torch.manual_seed(0)
    monkeypatch.setitem(globals(), "RANKS", ranks)
    model = normzoo.convert(nn.Sequential(nn.LayerNorm(3)), "batch_norm").double()
    plain = normzoo.create("batch_norm", 3).double()
    virtualize(model, normzoo.card("batch_norm"), RANKS, "rank0")
    x = torch.randn(16, 5, 3, dtype=torch.double)
    (expected,), _, _ = by_hand(plain, [x.transpose(1, 2)], "rank0")
    torch.testing.assert_close(model(x), expected.transpose(1, 2))
    torch.testing.assert_close(model.eval()(x).shape, x.shape)


def test_eval_calls_the_layer_itself_on_the_whole_batch():
    layer = wrapped("batch_norm").eval()
    x = torch.randn(5, 3, dtype=torch.double)  # 5 samples are not even divisible by the ranks
    assert torch.equal(layer(x), layer.inner(x))


@pytest.mark.parametrize("name", ["sync_batch_norm", "layer_norm", "layer_norm_channels", "group_norm", "none"])
def test_only_a_normalizer_that_pools_over_the_batch_and_not_over_ranks_is_split(name):
    model = nn.Sequential(normzoo.create(name, 4))
    assert virtualize(model, normzoo.card(name), RANKS, "rank0") == []
    assert type(model[0]) is normzoo.card(name).factory


def test_a_layer_used_in_two_places_stays_one_layer():
    layer = normzoo.create("batch_norm", 4)
    model = nn.ModuleDict({"one": layer, "two": nn.Sequential(layer)})
    assert len(virtualize(model, normzoo.card("batch_norm"), RANKS, "rank0")) == 1
    assert model["one"] is model["two"][0]
