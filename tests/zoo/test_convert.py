"""What `convert` keeps, what it changes and what it refuses, layer by layer."""

import copy
import pickle
import subprocess
import sys

import pytest
import timm.layers as tl
import torch
from torch import nn
from torch.nn import functional as F

import normzoo
from normzoo import registry
from normzoo.convert import CannotConvertError, convert, move_surroundings
from normzoo.norms import BatchNorm, BatchRenorm, GroupNorm, LayerNormChannels, SyncBatchNorm


def images(channels=8, size=5):
    return torch.randn(4, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("layer", "pooled"),
    [
        (nn.BatchNorm2d(8), (0, 2, 3)),
        (tl.GroupNorm(8, 2), (0, 2, 3)),
        (nn.InstanceNorm2d(8, affine=True), (0, 2, 3)),
        (tl.LayerNorm2d(8), (0, 2, 3)),
        (tl.norm.LayerNormExp2d(8), (0, 2, 3)),
        (tl.RmsNorm2d(8), (0, 2, 3)),
        (tl.SimpleNorm2d(8), (0, 2, 3)),
        (tl.FilterResponseNormAct2d(8, apply_act=False), (0, 2, 3)),
        (nn.LayerNorm(5), (0, 1, 2)),
        (nn.RMSNorm(5), (0, 1, 2)),
        (tl.RmsNorm(5), (0, 1, 2)),
        (tl.SimpleNormFp32(5), (0, 1, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_new_layer_normalizes_the_channels_of_the_old_one(layer, pooled):
    x = images()
    y = convert(layer, "batch_norm")(x)
    variance, mean = torch.var_mean(x, pooled, correction=0, keepdim=True)
    torch.testing.assert_close(y, (x - mean) / torch.sqrt(variance + 1e-5))


@pytest.mark.parametrize("shape", [(6, 8), (2, 3, 8), (2, 3, 4, 8), (2, 3, 4, 2, 8)])
def test_a_layer_over_the_last_axis_is_converted_in_every_shape(shape):
    x = torch.randn(shape)
    y = convert(nn.LayerNorm(8), "batch_norm")(x)
    torch.testing.assert_close(y, nn.BatchNorm1d(8)(x.view(-1, 8)).view(shape))
    assert y.is_contiguous()


def test_a_layer_over_the_last_axis_writes_contiguously_like_torchs():
    x = images().flatten(2).transpose(1, 2)  # [N, T, C], a view as patch embeddings make them
    convert(nn.LayerNorm(8), "batch_norm")(x).view(4, -1)


def test_layer_norm_in_token_models_pools_over_tokens_too():
    x = torch.randn(2, 6, 8)
    torch.testing.assert_close(convert(nn.LayerNorm(8), "layer_norm")(x), F.layer_norm(x, (6, 8)))


def test_a_layer_norm_for_images_leaves_channels_last_behind_like_timms():
    y = convert(tl.LayerNorm2d(8), "batch_norm")(images())
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert tl.LayerNorm2d(8)(images()).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels_last", [False, True])
def test_other_layers_keep_the_memory_format(channels_last):
    x = images().to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    assert convert(nn.BatchNorm2d(8), "group_norm")(x).stride() == x.stride()


@pytest.mark.parametrize(
    "layer",
    [
        tl.BatchNormAct2d(8, act_layer=nn.Hardswish, drop_layer=nn.Dropout),
        tl.GroupNormAct(8, 2, act_layer=nn.Hardswish, drop_layer=nn.Dropout),
        tl.LayerNormAct2d(8, act_layer=nn.Hardswish, drop_layer=nn.Dropout),
        tl.RmsNormAct2d(8, act_layer=nn.Hardswish, drop_layer=nn.Dropout),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fused_activation_and_drop_are_kept(layer):
    act, drop = layer.act, layer.drop
    new = convert(layer, "layer_norm").eval()
    torch.testing.assert_close(new(images()), F.hardswish(F.layer_norm(images(), (8, 5, 5))))
    assert new.act is act
    assert new.drop is drop


def test_drop_runs_before_the_activation_as_in_timm():
    new = convert(tl.BatchNormAct2d(8, act_layer="sigmoid", drop_layer=nn.Dropout), "group_norm")
    assert (new(images()) == 0.5).float().mean() > 0.4  # what is dropped is sigmoid(0), not 0


def test_weights_start_at_one_or_zero_and_settings_are_the_new_normalizers():
    zero, trained = nn.BatchNorm2d(8, eps=1e-2), nn.BatchNorm2d(8, eps=1e-2, momentum=0.5)
    nn.init.zeros_(zero.weight)
    nn.init.uniform_(trained.weight, 2, 3)
    nn.init.uniform_(trained.bias, 2, 3)
    one = nn.BatchNorm2d(8)
    nn.init.zeros_(one.weight[:7].detach())  # one weight that is not zero: not the start of a residual branch
    new = convert(nn.Sequential(zero, trained, one), "batch_renorm")
    assert [layer.weight.tolist() for layer in new] == [[0.0] * 8, [1.0] * 8, [1.0] * 8]
    assert [layer.bias.tolist() for layer in new] == [[0.0] * 8] * 3
    assert all((layer.eps, layer.momentum) == (1e-5, 0.01) for layer in new)
    assert all(layer.running_mean.eq(0).all() for layer in new)


def test_there_and_back_again_is_a_fresh_model():
    """Layout and activation survive a second conversion, which reads them from our own layers."""
    tokens, pictures = torch.randn(2, 5, 8), images()
    for layer, x in ((nn.LayerNorm(8, eps=1e-5), tokens), (tl.LayerNormAct2d(8, act_layer=nn.SiLU), pictures)):
        back = convert(convert(copy.deepcopy(layer), "batch_norm"), "layer_norm_channels")
        assert torch.equal(back(x), layer(x))


def test_a_weight_or_bias_that_the_layer_lacked_is_a_constant():
    for layer, kept in (
        (nn.LayerNorm(8, bias=False), ["weight"]),
        (nn.InstanceNorm2d(8), []),
        (nn.RMSNorm(8), ["weight"]),
    ):
        new = convert(layer, "group_norm")
        assert [name for name, _ in new.named_parameters()] == kept
        assert list(new.state_dict()) == kept
        assert new.bias.eq(0).all()
        assert new.weight.eq(1).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_mode_and_what_is_trained_are_kept(dtype):
    model = nn.Sequential(nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False), nn.LayerNorm(5)).to(dtype)
    model[0].weight.requires_grad_(False)
    model[0].weight._no_weight_decay = True
    model[1].eval()
    convert(model, "batch_renorm")
    assert [layer.training for layer in model] == [True, False, True]
    assert [p.requires_grad for p in model[0].parameters()] == [False, True]
    assert model[0].weight._no_weight_decay
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert model(images().to(dtype)).dtype == dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_device_is_kept():
    model = convert(nn.Sequential(nn.BatchNorm2d(8), nn.LayerNorm(5, elementwise_affine=False)).cuda(), "batch_renorm")
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"cuda"}
    assert model(images().cuda()).is_cuda


def test_a_layer_without_any_tensor_takes_the_models_dtype():
    model = convert(nn.Sequential(nn.LayerNorm(5, elementwise_affine=False), nn.Linear(5, 2)).double(), "batch_norm")
    assert model[0].running_mean.dtype == torch.float64


def test_a_layer_that_stands_at_two_places_stays_one_layer():
    shared, block = nn.BatchNorm2d(8), nn.Sequential(nn.BatchNorm2d(8))
    model = nn.ModuleDict({"a": shared, "b": shared, "c": nn.Sequential(shared), "d": block, "e": block})
    convert(model, "group_norm")
    assert model["a"] is model["b"] is model["c"][0]
    assert isinstance(model["a"], GroupNorm)
    assert isinstance(model["d"][0], GroupNorm)


def test_a_model_that_is_a_norm_layer_itself_is_given_back_new():
    old = nn.BatchNorm2d(8)
    assert isinstance(convert(old, "group_norm"), GroupNorm)
    assert type(old) is nn.BatchNorm2d


@pytest.fixture
def drawing_norm():
    """A normalizer from outside that draws its weight at random."""

    @normzoo.register("drawing_norm", paper="none", year=2024, pools=set())
    class DrawingNorm(nn.Module):
        def __init__(self, num_features, *, act="relu"):
            super().__init__()
            self.scale = nn.Parameter(torch.randn(num_features))
            self.act = act

        def forward(self, x):
            return x * self.scale.view(1, -1, *[1] * (x.dim() - 2))

    yield DrawingNorm
    del registry._cards["drawing_norm"]


def test_the_random_state_is_as_it_was(drawing_norm):
    state = torch.get_rng_state()
    convert(nn.BatchNorm2d(8), "drawing_norm")
    assert torch.equal(torch.get_rng_state(), state)


def test_what_a_normalizer_cannot_keep_is_refused(drawing_norm):
    zero = nn.BatchNorm2d(8)
    nn.init.zeros_(zero.weight)
    with pytest.raises(CannotConvertError, match="starts at zero, and DrawingNorm has no weight"):
        convert(zero, "drawing_norm")
    with pytest.raises(CannotConvertError, match="has a act of its own"):
        convert(tl.BatchNormAct2d(8), "drawing_norm")


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_converted_model_can_be_copied_and_pickled(clone):
    model = convert(nn.Sequential(tl.BatchNormAct2d(5), nn.LayerNorm(5)), "layer_norm")
    twin = clone(model)
    x = images(5)
    assert torch.equal(twin(x), model(x))
    assert twin[0].act is not model[0].act


def test_a_wrapper_can_take_over_what_surrounds_a_layer():
    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.seen = inner, None

        def forward(self, x):
            self.seen = x.shape
            return self.inner(x)

    x = torch.randn(2, 5, 8)
    layer = convert(tl.LayerNormAct(8, act_layer=nn.SiLU), "batch_norm")
    expected = layer(x)
    wrapper = Wrapper(layer)
    move_surroundings(layer, wrapper)
    assert torch.equal(wrapper(x), expected)
    assert wrapper.seen == (2, 8, 5)
    assert torch.equal(F.silu(layer(x.movedim(-1, 1)).movedim(1, -1)), expected)  # nothing surrounds it any more


def test_a_converted_model_compiles_to_the_same():
    model = convert(nn.Sequential(tl.BatchNormAct2d(5), nn.LayerNorm(5)), "group_norm")
    torch.testing.assert_close(torch.compile(model, backend="eager")(images(5)), model(images(5)))


def test_convert_imports_nothing_but_torch():
    program = (
        "import sys, torch; before = set(sys.modules); import normzoo; from torch import nn;"
        "normzoo.convert(nn.BatchNorm2d(4), 'group_norm');"
        "print(sorted({m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("['normzoo']", "['normzoo', 'torch']")  # torch loads parts of itself late


def test_the_classes_are_the_zoos_own():
    """Whoever looks for a normalizer by its class finds it: there is no wrapper around it."""
    layers = [nn.BatchNorm2d(8), tl.BatchNormAct2d(8), nn.LayerNorm(8)]
    for name, cls in (("batch_norm", BatchNorm), ("sync_batch_norm", SyncBatchNorm), ("batch_renorm", BatchRenorm)):
        assert {type(layer) for layer in convert(nn.Sequential(*layers), name)} == {cls}
    assert type(convert(nn.LayerNorm(8), "layer_norm_channels")) is LayerNormChannels
