"""`convert` on the model families of timm, each with random weights and as small as its constructor allows."""

import copy
import weakref

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay

import normzoo
from normzoo.convert import CannotConvertError, convert
from normzoo.convert._read import norm_layers

FIVE = ["batch_norm", "sync_batch_norm", "layer_norm", "group_norm", "batch_renorm"]

# family: (timm's name, image size, what makes it smaller)
FAMILIES = {
    "beit": ("beit_base_patch16_224", 32, {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2}),
    "botnet": ("eca_botnext26ts_256", 64, {"img_size": 64}),
    "byobnet": ("test_byobnet", 32, {}),
    "cait": ("cait_xxs24_224", 32, {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2}),
    "coat": ("coat_lite_tiny", 32, {"img_size": 32}),
    "coatnet": ("test_coatnet", 32, {"img_size": 32}),
    "convit": ("convit_tiny", 32, {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2}),
    "convmixer": ("convmixer_768_32", 32, {}),
    "convnext": ("test_convnext", 32, {}),
    "convnext_rms": ("convnext_zepto_rms", 32, {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 16)}),
    "convnextv2": ("test_convnext2", 32, {}),
    "crossvit": ("crossvit_tiny_240", 240, {"img_size": 240, "depth": ([1, 1, 0],)}),
    "csatv2": ("csatv2", 64, {}),
    "cspnet": ("cs3darknet_focus_s", 32, {}),
    "davit": (
        "davit_tiny",
        32,
        {"depths": (1, 1, 1, 1), "embed_dims": (16, 16, 16, 16), "num_heads": (2, 2, 2, 2)},
    ),
    "deit": ("deit_tiny_distilled_patch16_224", 32, {"img_size": 32, "depth": 2, "embed_dim": 32, "num_heads": 2}),
    "densenet": ("densenet121", 32, {"block_config": (1, 1, 1, 1)}),
    "dla": ("dla46_c", 32, {}),
    "dpn": ("dpn48b", 32, {"k_sec": (1, 1, 1, 1)}),
    "edgenext": ("edgenext_xx_small", 64, {"depths": (1, 1, 1, 1)}),
    "efficientformer": ("efficientformerv2_s0", 64, {"img_size": 64}),
    "efficientnet": ("test_efficientnet", 32, {}),
    "efficientnet_gn": ("test_efficientnet_gn", 32, {}),
    "efficientnet_ln": ("test_efficientnet_ln", 32, {}),
    "efficientvit": ("efficientvit_b0", 64, {}),
    "eva": ("eva02_tiny_patch14_224", 28, {"img_size": 28, "depth": 2}),
    "fasternet": ("fasternet_t0", 32, {}),
    "fastvit": ("fastvit_t8", 32, {"layers": (1, 1, 1, 1), "embed_dims": (16, 16, 16, 32)}),
    "focalnet": ("focalnet_tiny_srf", 32, {}),
    "gcvit": ("gcvit_xxtiny", 64, {"img_size": 64}),
    "ghostnet": ("ghostnet_050", 32, {}),
    "gmlp": ("gmlp_ti16_224", 32, {"img_size": 32}),
    "hgnet": ("hgnetv2_b0", 32, {}),
    "hiera": ("hiera_tiny_224", 64, {"img_size": 64, "embed_dim": 16, "stages": (1, 1, 1, 1)}),
    "hrnet": ("hrnet_w18_small", 32, {}),
    "inception": ("inception_v3", 80, {}),
    "inception_next": ("inception_next_atto", 32, {"depths": (1, 1, 1, 1), "dims": (16, 16, 16, 16)}),
    "levit": ("levit_128s", 64, {"img_size": 64}),
    "mambaout": ("test_mambaout", 32, {}),
    "maxvit": ("test_maxvit", 64, {"img_size": 64}),
    "metaformer": ("convformer_s18", 32, {}),
    "mixer": ("mixer_s32_224", 224, {}),
    "mobilenetv2": ("mobilenetv2_035", 32, {}),
    "mobilenetv3": ("mobilenetv3_small_050", 32, {}),
    "mobilenetv4": ("mobilenetv4_conv_small_035", 32, {}),
    "mobileone": ("mobileone_s0", 32, {}),
    "mobilevit": ("mobilevit_xxs", 64, {}),
    "mobilevitv2": ("mobilevitv2_050", 64, {}),
    "mvitv2": ("mvitv2_tiny", 64, {"img_size": 64}),
    "nest": ("nest_tiny", 64, {"img_size": 64}),
    "pit": ("pit_ti_224", 64, {"img_size": 64}),
    "poolformer": ("poolformer_s12", 32, {}),
    "poolformerv2": ("poolformerv2_s12", 32, {}),
    "pvt": ("pvt_v2_b0", 64, {"depths": (1, 1, 1, 1)}),
    "rdnet": ("rdnet_tiny", 32, {}),
    "regnet": ("regnetx_002", 32, {}),
    "repvgg": ("repvgg_a0", 32, {}),
    "repvit": ("repvit_m1", 32, {"depth": (1, 1, 1, 1), "embed_dim": (16, 16, 16, 16)}),
    "res2net": ("res2net50_14w_8s", 32, {"layers": [1, 1, 1, 1]}),
    "resnest": ("resnest14d", 32, {}),
    "resnet": ("test_resnet", 32, {}),
    "resnetv2": ("resnetv2_18", 32, {"layers": [1, 1, 1, 1], "channels": [16, 16, 16, 16], "stem_chs": 16}),
    "rexnet": ("rexnet_100", 32, {"width_mult": 0.3}),
    "sam": ("samvit_base_patch16_224", 32, {"img_size": 32, "depth": 1, "embed_dim": 32, "num_heads": 2}),
    "senet": ("legacy_seresnet18", 32, {}),
    "sequencer": (
        "sequencer2d_s",
        28,
        {"img_size": 28, "layers": [1] * 4, "embed_dims": [16] * 4, "hidden_sizes": [4] * 4},
    ),
    "sknet": ("skresnet18", 32, {"layers": [1, 1, 1, 1]}),
    "starnet": ("starnet_s050", 32, {}),
    "swiftformer": ("swiftformer_xs", 64, {"layers": [1, 1, 1, 1]}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        32,
        {"img_size": 32, "window_size": 4, "embed_dim": 16, "depths": (1, 2), "num_heads": (2, 2)},
    ),
    "swinv2": (
        "swinv2_tiny_window8_256",
        32,
        {"img_size": 32, "window_size": 4, "embed_dim": 16, "depths": (1, 2), "num_heads": (2, 2)},
    ),
    "tiny_vit": ("tiny_vit_5m_224", 64, {"depths": (1,) * 4, "embed_dims": (16, 16, 32, 32), "num_heads": (2,) * 4}),
    "tnt": ("tnt_s_patch16_224", 32, {"img_size": 32, "depth": 1}),
    "tresnet": ("tresnet_m", 32, {"layers": [1, 1, 1, 1], "width_factor": 0.25}),
    "twins": ("twins_svt_small", 64, {"img_size": 64, "depths": [1] * 4, "embed_dims": [16] * 4, "wss": [2] * 4}),
    "vgg": ("vgg11_bn", 32, {"mlp_ratio": 0.01}),
    "visformer": ("visformer_tiny", 32, {"img_size": 32, "depth": (1, 1, 1), "embed_dim": 48, "num_heads": 3}),
    "vit": ("test_vit", 32, {"img_size": 32}),
    "vit_hybrid": ("vit_tiny_r_s16_p8_224", 64, {"img_size": 64, "depth": 1}),
    "vit_relpos": ("test_vit_relpos", 32, {"img_size": 32}),
    "vit_rms": ("test_vit4", 32, {"img_size": 32}),
    "vitamin": ("vitamin_small_224", 64, {"img_size": 64}),
    "volo": ("volo_d1_224", 32, {"img_size": 32}),
    "vovnet": ("ese_vovnet19b_slim_dw", 32, {}),
    "xception": ("xception41p", 32, {}),
    "xcit": ("xcit_nano_12_p8_224", 32, {"img_size": 32, "depth": 1, "embed_dim": 32, "num_heads": 2}),
}

REFUSED = {
    "efficientnet with EvoNorm": (
        "test_efficientnet_evos",
        {},
        "bn1 .*EvoNorm2dS0.* activation is part of its formula",
    ),
    "nfnet": ("test_nfnet", {}, "has no norm layer"),
    "resmlp": ("resmlp_12_224", {"img_size": 32}, "has no norm layer"),
    "vgg without norms": ("vgg11", {"mlp_ratio": 0.01}, "has no norm layer"),
}

OWN = {
    "batch_norm": ["resnet", "resnetv2", "regnet", "densenet", "efficientnet", "mobilenetv3", "levit", "fastvit"],
    "sync_batch_norm": ["resnet", "repvgg", "dla"],
    "group_norm": ["efficientnet_gn"],
    "layer_norm_channels": ["efficientnet_ln", "convnext", "vit", "swin", "mixer", "davit", "eva", "hiera", "pvt"],
}


def build(family):
    name, size, changes = FAMILIES[family]
    torch.manual_seed(0)
    if not timm.is_model(name):
        pytest.skip(f"this timm, {timm.__version__}, has no {name}")
    return timm.create_model(name, num_classes=10, **changes), torch.randn(2, 3, size, size)


def logits(model, x):
    """Give a model's output; a distilled one gives a pair in training."""
    y = model(x)
    return torch.stack(y) if isinstance(y, tuple) else y


def test_at_least_25_families_are_tried_whatever_timm_is_installed():
    assert sum(timm.is_model(name) for name, _, _ in FAMILIES.values()) >= 25


def check_conversion(family, normalizer):
    model, x = build(family)
    old = dict(norm_layers(model))
    of_norms = {f"{name}.{kind}" for name, layer in old.items() for kind in ("weight", "bias") if hasattr(layer, kind)}
    rest = {name: p.detach().clone() for name, p in model.named_parameters() if name not in of_norms}
    names = [name for name, _ in model.named_parameters()]
    at_zero = {name for name, layer in old.items() if layer.weight is not None and not layer.weight.any()}
    gone = [weakref.ref(layer) for layer in old.values()]
    del old

    assert convert(model, normalizer) is model

    assert [ref() for ref in gone if ref() is not None] == []  # whatever held on to an old layer would still use it
    new = dict(norm_layers(model))
    assert {type(layer) for layer in new.values()} == {normzoo.card(normalizer).factory}
    assert {name for name, layer in new.items() if not layer.weight.any()} == at_zero
    assert sorted(name for name, _ in model.named_parameters()) == sorted(names)
    assert all(torch.equal(p, rest[name]) for name, p in model.named_parameters() if name in rest)
    check_training(model, x)


def check_training(model, x):
    y = logits(model.train(), x)
    y.square().sum().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        assert logits(model.eval(), x).isfinite().all()


@pytest.mark.parametrize(("family", "normalizer"), [(family, FIVE[index % 5]) for index, family in enumerate(FAMILIES)])
def test_a_family_is_converted_and_trains(family, normalizer):
    check_conversion(family, normalizer)


@pytest.mark.slow
@pytest.mark.parametrize("normalizer", [*FIVE, "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_converted_and_trains_with_every_normalizer(family, normalizer):
    check_conversion(family, normalizer)


@pytest.mark.parametrize("normalizer", FIVE)
@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_cannot_be_converted_is_refused_and_untouched(family, normalizer):
    name, changes, reason = REFUSED[family]
    model = timm.create_model(name, num_classes=10, **changes)
    modules, state = list(model.modules()), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CannotConvertError, match=reason):
        convert(model, normalizer)
    assert list(model.modules()) == modules
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_layer_norm_over_a_single_channel_is_refused_as_a_statistic():
    model, _ = build("csatv2")
    with pytest.raises(CannotConvertError, match=r"stages\.0\.0\.attn\.attn\.norm1 .* needs 2 of them, got 1"):
        convert(model, "layer_norm_channels")


def rounded(one, other):
    """Tell whether two tensors differ by no more than rounding does in a whole network."""
    return (one - other).abs().max() <= 1e-4 * other.abs().max() + 1e-6


@pytest.mark.parametrize(("normalizer", "family"), [(name, family) for name in OWN for family in OWN[name]])
def test_conversion_to_the_own_norm_changes_no_output_gradient_or_state(normalizer, family):
    old, x = build(family)
    for _, layer in norm_layers(old):
        torch.nn.init.normal_(layer.weight, 1, 0.1)
    new = convert(copy.deepcopy(old), normalizer)
    for model in (old, new):
        torch.manual_seed(1)  # dropout
        model.output = logits(model.train(), x)
        model.output.square().sum().backward()
    # the zoo has a kernel of its own for channels that are not innermost: there the two differ by rounding
    same = rounded if normalizer == "layer_norm_channels" else torch.equal
    assert same(new.output, old.output)
    assert same(logits(new.eval(), x), logits(old.eval(), x))
    gradients = {name: p.grad for name, p in old.named_parameters()}
    assert [name for name, _ in new.named_parameters()] == list(gradients)
    assert all(same(p.grad, gradients[name]) for name, p in new.named_parameters() if p.grad is not None)
    state = old.state_dict()
    assert list(new.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in new.state_dict().items())


def groups_of(model):
    """Give weight decay and learning rate scale of each parameter, under timm's two ways of grouping."""
    names = {id(p): name for name, p in model.named_parameters()}
    exempt = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    plain = param_groups_weight_decay(model, 0.1, exempt)
    layered = param_groups_layer_decay(model, 0.1, exempt, layer_decay=0.5)
    return [
        {names[id(p)]: (group["weight_decay"], group.get("lr_scale")) for group in groups for p in group["params"]}
        for groups in (plain, layered)
    ]


@pytest.mark.parametrize(
    "family", ["resnet", "efficientnet", "densenet", "convnext", "vit", "swin", "metaformer", "eva"]
)
def test_the_groups_of_timms_optimizers_stay(family):
    model, _ = build(family)
    before = groups_of(model)
    assert groups_of(convert(model, "group_norm")) == before


@pytest.mark.parametrize("family", ["resnet", "efficientnet", "vit", "swin"])
def test_a_converted_model_trains_with_gradient_checkpointing_to_the_same_gradients(family):
    model, x = build(family)
    convert(model, "layer_norm")
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        torch.manual_seed(1)  # stochastic depth
        model.train()(x).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
