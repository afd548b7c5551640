"""Models by name: their sizes against the papers and other libraries, and what each gives a norm layer to see."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

import normzoo
from normzoo_bench import models
from normzoo_bench.errors import UsageError
from normzoo_bench.models.vit import patch_size
from normzoo_bench.ranks import virtualize

FIVE = ["batch_norm", "sync_batch_norm", "layer_norm", "group_norm", "batch_renorm"]
DIGITS, CIFAR = (1, 8, 8), (3, 32, 32)


def built(name, shape=CIFAR, classes=10, seed=0):
    torch.manual_seed(seed)
    return models.build(name, shape, classes)


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm)]


def seen(model, x):
    """The shapes that the norm layers are given, in the order of the calls."""
    shapes = []
    for layer in norms(model):
        layer.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape)))
    model(x)
    return shapes


@pytest.mark.parametrize("name", list(models.model_names()))
@pytest.mark.parametrize("shape", [DIGITS, (1, 28, 28), CIFAR])
def test_every_built_in_model_takes_small_and_large_pictures(name, shape):
    assert models.build(name, shape, 7).eval()(torch.zeros(2, *shape)).shape == (2, 7)


# what 56 plain layers do to gradients, no step as large as this one stands; 110 layers are the same blocks, only slower
STEPPED = [name for name in models.model_names() if name not in ("plain56", "plain110", "resnet110")]


@pytest.mark.parametrize("normalizer", FIVE)
@pytest.mark.parametrize("name", STEPPED)
@pytest.mark.parametrize("shape", [DIGITS, CIFAR])
def test_a_step_on_a_batch_lowers_its_loss_with_every_normalizer(name, normalizer, shape):
    model = normzoo.convert(built(name, shape), normalizer).train()
    x, labels = torch.randn(4, *shape), torch.tensor([0, 1, 2, 3])
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    before = F.cross_entropy(model(x), labels)
    before.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    optimizer.step()
    assert F.cross_entropy(model(x), labels) < before


@pytest.mark.parametrize("name", ["mlp", "vgg", "resnet20_strided", "vit"])
def test_virtual_ranks_deal_samples_and_nothing_else_of_a_model(name):
    """Two ranks in one process give what each gives for its own samples."""
    single = normzoo.convert(built(name), "batch_norm").train()
    model, x = copy.deepcopy(single), torch.randn(6, *CIFAR)
    assert virtualize(model, normzoo.card("batch_norm"), 2, "rank0")
    y = model(x)
    for rank in (0, 1):
        torch.testing.assert_close(y[rank::2], single(x[rank::2]), rtol=1e-3, atol=1e-4)


# ResNets and plain nets

DEPTHS = (8, 20, 56, 110)


@pytest.mark.parametrize(("name", "millions"), [("resnet20", 0.27), ("resnet56", 0.85)])
def test_resnets_have_the_papers_number_of_weights(name, millions):
    """He et al. 2016 (arXiv:1512.03385), table 6."""
    assert round(sum(p.numel() for p in built(name).parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("name", "layers"),
    [("resnet20_strided", 20)] + [(f"{kind}{layers}", layers) for kind in ("plain", "resnet") for layers in DEPTHS],
)
def test_resnets_have_as_many_weighted_layers_as_they_are_called_after(name, layers):
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in built(name).modules()) == layers


@pytest.mark.parametrize(("name", "sides"), [("resnet20", [32, 16, 8]), ("resnet56", [32, 16, 8])])
def test_resnets_have_the_papers_map_sizes(name, sides):
    """He et al. 2016, section 4.2: 32, 16 and 8 on a side, 16, 32 and 64 channels, 2n layers each, and the stem."""
    per_stage = {"resnet20": 6, "resnet56": 18}[name]
    shapes = [shape[1:] for shape in seen(built(name), torch.zeros(2, *CIFAR))]
    wide = dict(zip(sides, (16, 32, 64), strict=True))
    assert shapes == [(16, 32, 32)] + [(wide[side], side, side) for side in sides for _ in range(per_stage)]


def test_the_strided_resnet_differs_from_resnet20_in_positions_and_not_in_weights():
    plain, strided = built("resnet20").state_dict(), built("resnet20_strided").state_dict()
    assert plain.keys() == strided.keys()
    assert all(torch.equal(plain[key], strided[key]) for key in plain)


@pytest.mark.parametrize("layers", DEPTHS)
def test_plain_nets_differ_from_residual_ones_in_shortcuts_and_not_in_weights(layers):
    plain, residual = built(f"plain{layers}").eval(), built(f"resnet{layers}").eval()
    weights = residual.state_dict()
    assert all(torch.equal(one, weights[name]) for name, one in plain.state_dict().items())
    assert plain.state_dict().keys() == weights.keys()
    for model in (plain, residual):
        for block in model.stages:
            nn.init.zeros_(block.norm2.weight)
    x = torch.randn(2, *CIFAR)
    assert torch.equal(*plain(x))  # nothing passes by a block that gives zeros, and the bias of the head is left
    assert not torch.equal(*residual(x))


@pytest.mark.parametrize(("name", "hidden"), [("mlp_sigmoid", 3), ("mlp_sigmoid_deep", 8)])
def test_nets_of_sigmoids_are_perceptrons_of_sigmoids_and_nothing_else(name, hidden):
    """As in 1502.03167, section 4.1: fully connected, a norm before each activation."""
    parts = ["Linear", "BatchNorm1d", "Sigmoid"] * hidden
    assert kinds(built(name)) == ["Flatten", *parts, "Linear"]


@pytest.mark.parametrize(("side", "values"), [(32, (512, 128, 32, 8)), (16, (128, 32, 8, 2))])
def test_two_samples_give_the_strided_resnets_late_stages_few_values_per_statistic(side, values):
    shapes = seen(built("resnet20_strided"), torch.zeros(2, 3, side, side))
    stem, *stages = values
    assert [n * h * w for n, _, h, w in shapes] == [stem] + [stage for stage in stages for _ in range(6)]


# VGG


def kinds(layers):
    return [type(layer).__name__ for layer in layers]


def test_vgg_is_vgg_11_half_as_wide():
    """As timm has VGG-11 with batch norm (arXiv:1409.1556, table 1, column A)."""
    ours = [layer for layer in built("vgg") if not isinstance(layer, nn.AdaptiveAvgPool2d | nn.Flatten | nn.Linear)]
    timms = list(timm.create_model("vgg11_bn").features)
    assert kinds(ours) == kinds(timms)
    widths = [[layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)] for layers in (ours, timms)]
    assert [2 * wide for wide in widths[0]] == widths[1]


def test_vggs_late_norm_layers_see_few_positions():
    assert [shape[2] for shape in seen(built("vgg"), torch.zeros(2, *CIFAR))] == [32, 16, 8, 8, 4, 4, 2, 2]
    assert [shape[2] for shape in seen(built("vgg", DIGITS), torch.zeros(2, *DIGITS))] == [8, 4, 2, 2, 1, 1, 1, 1]


# the vision transformer


def timms_vit(model, patch):
    """Timm's vision transformer of the same size, with the weights of ours."""
    options = {"class_token": False, "global_pool": "avg", "fc_norm": False, "norm_layer": nn.LayerNorm}
    size = {"embed_dim": 96, "depth": 6, "num_heads": 3}
    reference = VisionTransformer(img_size=32, patch_size=patch, num_classes=10, **size, **options)
    names = {"patches": "patch_embed.proj", "positions": "pos_embed", "attention": "attn", "project": "qkv"}
    names |= {"out": "proj", "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}
    weights = {}
    for key, value in model.state_dict().items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        weights[key] = value
    reference.load_state_dict(weights)
    return reference


def test_vit_computes_what_timms_does():
    model, x = built("vit").eval(), torch.randn(3, *CIFAR)
    torch.testing.assert_close(model(x), timms_vit(model, 4).eval()(x))


@pytest.mark.parametrize("training", [True, False])
def test_vits_norm_layers_are_all_called_and_see_samples_first(training):
    """In eval too: fused encoder layers compute layer norm themselves, whatever their norm was converted to."""
    shapes = seen(built("vit").train(training), torch.zeros(3, *CIFAR))
    assert shapes == [(3, 64, 96)] * 13


def test_vits_own_norm_is_layer_norm_over_channels():
    model, x = built("vit").eval(), torch.randn(2, *CIFAR)
    torch.testing.assert_close(normzoo.convert(copy.deepcopy(model), "layer_norm_channels")(x), model(x))


def test_vits_positions_are_excepted_from_weight_decay():
    model = built("vit")
    assert model.no_weight_decay() == {name for name, p in model.named_parameters() if p.dim() > 1} - {
        name for name, p in model.named_parameters() if name.endswith("weight")
    }


@pytest.mark.parametrize(("side", "patch"), [(8, 2), (16, 2), (28, 4), (32, 4), (64, 8), (160, 32), (224, 32)])
def test_vits_patches_grow_with_the_images(side, patch):
    assert patch_size((3, side, side)) == patch


def test_vit_takes_oblong_images_that_patches_cover():
    assert built("vit", (3, 32, 24))(torch.zeros(2, 3, 32, 24)).shape == (2, 10)


@pytest.mark.parametrize(("side", "wanted"), [(1, 2), (9, 10), (30, 32), (33, 40), (65, 80)])
def test_images_that_no_patches_cover_are_told_a_size_that_they_do(side, wanted):
    with pytest.raises(UsageError, match=rf"{side}×{side} is no multiple of it; try dataset=…\(size={wanted}\)"):
        built("vit", (3, side, side))
    assert built("vit", (3, wanted, wanted))(torch.zeros(2, 3, wanted, wanted)).shape == (2, 10)


# timm


def test_a_timm_model_is_built_for_the_data():
    model = models.build("timm/test_resnet", (1, 32, 32), 5).eval()
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 5)


def test_a_timm_model_of_fixed_size_is_told_the_size():
    assert models.build("timm/test_vit", (3, 64, 64), 5).eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet21", "did you mean 'resnet20'"),
        ("vggg", "did you mean 'vgg'"),
        ("timm/resnet19", r"did you mean .*timm/resnet18"),
    ],
)
def test_an_unknown_model_names_the_nearest(name, message):
    with pytest.raises(UsageError, match=message):
        models.build(name, (3, 32, 32), 10)
