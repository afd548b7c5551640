"""Converting a model to the norm it already has changes nothing."""

import copy

import pytest
import timm.layers as tl
import torch
from torch import nn

import normzoo
from normzoo.convert import convert


def images(channels=8, size=5):
    return torch.randn(4, channels, size, size, generator=torch.Generator().manual_seed(0))


def filled(layer):
    """Give a layer the state of one that has been trained."""
    generator = torch.Generator().manual_seed(1)
    for tensor in layer.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return layer


OWN = {
    "BatchNorm1d": (nn.BatchNorm1d(8, eps=1e-3, momentum=0.3), "batch_norm", torch.randn(6, 8)),
    "BatchNorm3d": (nn.BatchNorm3d(8, eps=1e-3, momentum=0.3), "batch_norm", torch.randn(2, 8, 2, 3, 2)),
    "BatchNormAct2d": (tl.BatchNormAct2d(8, eps=1e-3, act_layer=nn.SiLU), "batch_norm", images()),
    "BatchNorm2d to SyncBN": (nn.BatchNorm2d(8, eps=1e-3, momentum=0.3), "sync_batch_norm", images()),
    "SyncBatchNorm": (nn.SyncBatchNorm(8, eps=1e-3, momentum=0.3), "sync_batch_norm", images()),
    "SyncBatchNorm to batch norm": (nn.SyncBatchNorm(8, eps=1e-3, momentum=0.3), "batch_norm", images()),
    "batch norm without affine": (nn.BatchNorm2d(8, affine=False), "batch_norm", images()),
    "GroupNorm": (nn.GroupNorm(4, 8, eps=1e-3), "group_norm", images()),
    "GroupNormAct": (tl.GroupNormAct(8, 4, act_layer=nn.SiLU), "group_norm", images()),
    "GroupNorm1": (tl.GroupNorm1(8), "layer_norm", images()),
    "GroupNorm1 as group norm": (tl.GroupNorm1(8), "group_norm", images()),
    "LayerNorm": (nn.LayerNorm(8, eps=1e-3), "layer_norm_channels", torch.randn(2, 5, 8)),
    "LayerNorm without bias": (nn.LayerNorm(8, bias=False), "layer_norm_channels", torch.randn(2, 5, 8)),
    "LayerNorm without affine": (
        nn.LayerNorm(8, elementwise_affine=False),
        "layer_norm_channels",
        torch.randn(2, 3, 4, 8),
    ),
    "LayerNorm2d": (tl.LayerNorm2d(8), "layer_norm_channels", images()),
    "LayerNormAct": (tl.LayerNormAct(8, act_layer=nn.SiLU), "layer_norm_channels", torch.randn(2, 5, 8)),
    "LayerNormFp32": (tl.LayerNormFp32(8), "layer_norm_channels", torch.randn(2, 5, 8)),
}


@pytest.mark.parametrize("case", OWN)
def test_conversion_to_the_own_norm_is_exact(case):
    layer, normalizer, x = OWN[case]
    old = filled(copy.deepcopy(layer))
    new = convert(nn.Sequential(copy.deepcopy(old)), normalizer)[0]
    assert isinstance(new, normzoo.card(normalizer).factory)
    for training in (True, True, False):
        assert torch.equal(new.train(training)(x.clone()), old.train(training)(x.clone()))
    assert list(new.state_dict()) == list(old.state_dict())
    assert all(torch.equal(tensor, old.state_dict()[name]) for name, tensor in new.state_dict().items())
    assert [name for name, _ in new.named_parameters()] == [name for name, _ in old.named_parameters()]


def test_the_own_norm_keeps_its_parameters_so_that_optimizers_hold_on_to_them():
    old = nn.BatchNorm2d(8)
    new = convert(old, "sync_batch_norm")
    assert new.weight is old.weight
    assert new.bias is old.bias


def test_options_change_the_own_norm_and_leave_its_state():
    new = convert(filled(nn.BatchNorm2d(8, eps=1e-3, momentum=0.3)), "batch_norm", momentum=0.5)
    assert (new.eps, new.momentum) == (1e-3, 0.5)
    assert torch.equal(new.running_var, filled(nn.BatchNorm2d(8)).running_var)
    assert convert(nn.GroupNorm(4, 8), "group_norm", groups=2).groups == 2
    assert convert(nn.BatchNorm2d(8, momentum=None), "batch_norm", momentum=0.5).momentum == 0.5


def test_a_normalizer_of_ours_stays_the_very_same_layer():
    layer = normzoo.create("batch_renorm", 8, r_max=2.0)
    model = nn.Sequential(layer)
    assert convert(model, "batch_renorm")[0] is layer
    changed = convert(model, "batch_renorm", d_max=1.0)[0]
    assert (changed.r_max, changed.d_max, changed.weight is layer.weight) == (2.0, 1.0, True)
