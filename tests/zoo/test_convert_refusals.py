"""What `convert` refuses, by name and with the reason, and that it leaves the model as it was."""

import sys

import pytest
import timm.layers as tl
import torch
from torch import nn

import normzoo
from normzoo.convert import CannotConvertError, convert
from normzoo.convert._known import KNOWN, LEFT_ALONE, REFUSED


def snapshot(model):
    return [(name, module) for name, module in model.named_modules()], {
        name: tensor.clone() for name, tensor in model.state_dict().items()
    }


def assert_untouched(model, before):
    modules, state = before
    assert [(name, module) for name, module in model.named_modules()] == modules
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


class NewNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))


class CenteredGroupNorm(nn.GroupNorm):
    def forward(self, x):
        return super().forward(x - x.mean())


def with_hook():
    layer = nn.BatchNorm2d(8)
    layer.register_forward_hook(lambda *_: None)
    return layer


def with_tied_weights():
    one, other = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
    other.weight = one.weight
    return nn.Sequential(one, other)


CASES = {
    "a layer of an unknown kind": (NewNorm(), "group_norm", "not a norm layer that convert knows"),
    "a known layer with another forward": (CenteredGroupNorm(2, 8), "group_norm", "not a norm layer that convert"),
    "a frozen batch norm": (tl.FrozenBatchNormAct2d(8), "group_norm", "unfreeze"),
    "a torchvision frozen batch norm": (
        tl.freeze_batch_norm_2d(nn.Sequential(nn.BatchNorm2d(8))),
        "batch_norm",
        "unfreeze",
    ),
    "an EvoNorm B": (tl.EvoNorm2dB0(8), "batch_norm", "activation is part"),
    "an EvoNorm S": (tl.EvoNorm2dS0a(8), "batch_norm", "activation is part"),
    "an in-place activated batch norm": (tl.InplaceAbn(8), "batch_norm", "inside its kernel"),
    "a split batch norm": (tl.SplitBatchNorm2d(8), "batch_norm", "several batch norms"),
    "a response norm with a learned threshold": (tl.FilterResponseNormTlu2d(8), "batch_norm", "holds tau"),
    "a local response norm": (nn.LocalResponseNorm(2), "batch_norm", "how many"),
    "a layer norm with a weight per position": (nn.LayerNorm((8, 5, 5)), "layer_norm", r"\(8, 5, 5\) values"),
    "a lazy layer": (nn.LazyBatchNorm2d(), "batch_norm", "no values yet"),
    "a layer on the meta device": (nn.BatchNorm2d(8, device="meta"), "group_norm", "no values yet"),
    "a layer with hooks": (with_hook(), "group_norm", "1 hook"),
    "a parametrized layer": (
        nn.utils.parametrize.register_parametrization(nn.BatchNorm2d(8), "weight", nn.Softplus()),
        "group_norm",
        "holds parametrizations",
    ),
    "two layers with one weight": (with_tied_weights(), "group_norm", "shares a weight"),
    "a layer with a fast path around its norms": (
        nn.TransformerEncoderLayer(8, 2, 8, batch_first=True),
        "group_norm",
        "fast path",
    ),
    "a cumulative average": (nn.BatchNorm2d(8, momentum=None), "batch_norm", "momentum is None"),
    "a batch norm without running statistics": (
        nn.BatchNorm2d(8, track_running_stats=False),
        "sync_batch_norm",
        "no running statistics",
    ),
    "a single channel, normalized over channels": (nn.BatchNorm2d(1), "layer_norm_channels", "needs 2 of them"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_converted_is_refused_by_name_and_the_model_stays_as_it_was(case):
    layer, normalizer, reason = CASES[case]
    model = nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1))
    before = snapshot(model)  # the layer that can be converted comes first
    whole = nn.ModuleDict({"good": model, "bad": layer})
    with pytest.raises(CannotConvertError, match=rf"cannot convert bad.*to {normalizer}: .*{reason}"):
        convert(whole, normalizer)
    assert_untouched(model, before)
    assert whole["bad"] is layer


def test_an_option_that_one_layer_cannot_have_names_the_layer():
    with pytest.raises(CannotConvertError, match=r"cannot convert 1 .*groups must divide the 6 channels, got 4"):
        convert(nn.Sequential(nn.BatchNorm2d(8), nn.BatchNorm2d(6)), "group_norm", groups=4)


def test_a_model_without_norm_layers_is_refused():
    with pytest.raises(CannotConvertError, match="Sequential has no norm layer"):
        convert(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()), "batch_norm")


def test_unknown_names_and_options_are_refused_before_the_model_is_read():
    with pytest.raises(normzoo.UnknownNormalizerError, match="did you mean 'group_norm'"):
        convert(nn.ReLU(), "grup_norm")
    with pytest.raises(normzoo.NormalizerOptionError, match="did you mean 'groups'"):
        convert(nn.ReLU(), "group_norm", group=4)


TIMM_NORMS = [
    cls
    for module in ("norm", "norm_act", "evo_norm", "filter_response_norm", "inplace_abn", "split_batchnorm", "grn")
    for cls in vars(sys.modules[f"timm.layers.{module}"]).values()
    if isinstance(cls, type) and issubclass(cls, nn.Module) and cls.__module__ == f"timm.layers.{module}"
]


def test_every_norm_layer_of_timm_has_a_decision():
    undecided = [
        cls.__qualname__
        for cls in TIMM_NORMS
        if f"{cls.__module__}.{cls.__qualname__}" not in {*KNOWN, *REFUSED, *LEFT_ALONE}
        and cls.__module__ not in REFUSED
    ]
    assert len(TIMM_NORMS) > 40
    assert undecided == []


def test_modules_named_norm_that_are_none_are_left_alone():
    model = nn.Sequential(
        nn.BatchNorm2d(8), tl.grn.GlobalResponseNorm(8), nn.utils.parametrizations.spectral_norm(nn.Conv2d(8, 8, 1))
    )
    kept = list(model)[1:]
    convert(model, "group_norm")
    assert list(model)[1:] == kept
