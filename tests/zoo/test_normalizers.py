"""The normalizers against references in float64 numpy and against torch's own layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import references
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import normzoo

SPACES = ((), (5,), (4, 3), (2, 3, 2))
DEFAULTS = ("batch_norm", "sync_batch_norm", "layer_norm", "group_norm", "batch_renorm", "layer_norm_channels", "none")


def made(name: str, channels: int, dtype: torch.dtype = torch.float64, **options: object) -> nn.Module:
    """Build a normalizer with a weight and bias away from 1 and 0."""
    module = normzoo.create(name, channels, **options).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        module.weight.copy_(torch.rand(channels, generator=generator) + 0.5)
        module.bias.copy_(torch.randn(channels, generator=generator))
    return module


def values(*shape: int, seed: int = 0, mean: float = 0.7, std: float = 2.0) -> Tensor:
    return mean + std * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def affine(module: nn.Module) -> tuple[references.Array, references.Array]:
    return module.weight.detach().numpy(), module.bias.detach().numpy()


REFERENCES = {
    "batch_norm": references.batch_norm,
    "sync_batch_norm": references.batch_norm,
    "layer_norm": references.layer_norm,
    "layer_norm_channels": references.layer_norm_channels,
    "group_norm": lambda x, weight, bias: references.group_norm(x, 6, weight, bias),
    "batch_renorm": lambda x, weight, bias: references.BatchRenorm(12).train(x, weight, bias),
    "none": lambda x, weight, bias: references._affine(x, weight, bias),
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", DEFAULTS)
def test_training_output_is_that_of_the_paper(name: str, space: tuple[int, ...]) -> None:
    module, x = made(name, 12), values(6, 12, *space)
    expected = REFERENCES[name](x.numpy(), *affine(module))
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in DEFAULTS if name != "none"])
def test_eps_is_added_to_the_variance_inside_the_root(name: str) -> None:
    """With eps = 3 and values whose variance is 1, normalized values have variance 1/4 and not 1/(1 + √3)²."""
    options = {"r_max": 1.0, "d_max": 0.0} if name == "batch_renorm" else {}
    module = normzoo.create(name, 8, eps=3.0, **options).double()
    x = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(4, 8, 4)[:, :, :4].clone()
    x[:, 1::2] *= -1  # over channels the mean is 0 and the variance 1, too
    torch.testing.assert_close(module(x), x / 2)


@pytest.mark.parametrize("name", ["batch_norm", "sync_batch_norm"])
@pytest.mark.parametrize(
    ("space", "torch_class"), [((5,), nn.BatchNorm1d), ((4, 3), nn.BatchNorm2d), ((2, 3, 2), nn.BatchNorm3d)]
)
def test_batch_norm_is_torchs_to_the_bit(name: str, space: tuple[int, ...], torch_class: type[nn.Module]) -> None:
    """Outputs, gradients, buffers and eval, without a process group; running_var is the unbiased one in both."""
    mine, theirs = made(name, 12, torch.float32), torch_class(12)
    theirs.load_state_dict(mine.state_dict())
    for seed in range(3):
        inputs = [values(6, 12, *space, seed=seed).float().requires_grad_() for _ in range(2)]
        outputs = [module(x) for module, x in zip((mine, theirs), inputs, strict=True)]
        for y in outputs:
            y.square().sum().backward()
        assert torch.equal(*outputs)
        assert torch.equal(inputs[0].grad, inputs[1].grad)
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(mine.state_dict()[key], tensor), key
    x = values(6, 12, *space, seed=9).float()
    assert torch.equal(mine.eval()(x), theirs.eval()(x))


def test_batch_norm_stores_the_unbiased_variance() -> None:
    module, x = made("batch_norm", 12, momentum=1.0), values(6, 12, 5)
    module(x)
    expected = x.transpose(0, 1).flatten(1).numpy().var(1, ddof=1)
    np.testing.assert_allclose(module.running_var.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["batch_norm", "sync_batch_norm"])
def test_momentum_is_the_weight_of_the_new_batch(name: str) -> None:
    module, x = made(name, 12, momentum=0.25), values(6, 12, 5)
    module(x)
    expected = 0.25 * x.mean((0, 2))
    torch.testing.assert_close(module.running_mean, expected)


@pytest.mark.parametrize("name", ["batch_norm", "sync_batch_norm", "batch_renorm"])
def test_training_steps_are_counted_and_eval_is_not(name: str) -> None:
    module = made(name, 12)
    for _ in range(3):
        module(values(6, 12))
    module.eval()(values(6, 12))
    assert module.num_batches_tracked.item() == 3


@pytest.mark.parametrize(
    ("channels", "groups"), [(16, 8), (64, 32), (13, 1), (1, 1), (2, 1), (4, 2), (48, 24), (512, 32)]
)
def test_default_groups_are_the_most_up_to_32_that_leave_2_channels(channels: int, groups: int) -> None:
    assert normzoo.create("group_norm", channels).groups == groups


def test_groups_that_do_not_divide_the_channels_are_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"groups must divide the 12 channels, got 5; these do: 1, 2, 3, 4, 6, 12$"):
        normzoo.create("group_norm", 12, groups=5)


@pytest.mark.parametrize("name", ["group_norm", "layer_norm"])
@pytest.mark.parametrize("mean", [1e3, 1e4])
def test_channels_last_is_stable_at_large_means(name: str, mean: float) -> None:
    """torch's CPU kernel for channels_last takes E[x²] − E[x]²: a standard deviation of 88 there at mean 1000."""
    x = values(2, 64, 16, 16, mean=mean, std=1.0).float().contiguous(memory_format=torch.channels_last)
    y = normzoo.create(name, 64)(x)
    assert y.std(correction=0).item() == pytest.approx(1, abs=1e-3)


def test_layer_norm_channels_is_torchs_on_the_last_axis() -> None:
    """To the bit where channels are innermost; a contiguous input has a kernel of its own."""
    module, x = made("layer_norm_channels", 12), values(6, 12, 4, 3)
    expected = F.layer_norm(x.permute(0, 2, 3, 1), (12,), module.weight, module.bias).permute(0, 3, 1, 2)
    assert torch.equal(module(x.contiguous(memory_format=torch.channels_last)), expected)
    torch.testing.assert_close(module(x), expected, rtol=1e-13, atol=1e-13)


def test_layer_norm_without_space_axes_is_layer_norm_channels() -> None:
    x = values(6, 12)
    torch.testing.assert_close(made("layer_norm", 12)(x), made("layer_norm_channels", 12)(x))


@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize("shape", [(6, 11, 4, 3), (6, 1, 4, 3), (12,), (6, 12, 1, 2, 2, 2)])
def test_a_wrong_shape_is_refused_with_what_was_expected(name: str, shape: tuple[int, ...]) -> None:
    expected = r"expected \[N, C, \*space\] with C = 12 and 0 to 3 space axes, got shape \(" + str(shape)[1:].replace(
        ")", r"\)"
    )
    with pytest.raises(ValueError, match=expected):
        made(name, 12)(values(*shape))


@pytest.mark.parametrize("name", ["batch_norm", "sync_batch_norm", "batch_renorm"])
@pytest.mark.parametrize("shape", [(1, 12), (1, 12, 1, 1), (0, 12, 4)])
def test_fewer_than_two_values_per_channel_are_refused_in_training_and_taken_in_eval(
    name: str, shape: tuple[int, ...]
) -> None:
    module = made(name, 12)
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    with pytest.raises(normzoo.TooFewValuesError, match="needs 2 values per channel"):
        module(values(*shape))
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    assert module.eval()(values(*shape)).isfinite().all()


@pytest.mark.parametrize(("name", "channels", "options"), [("layer_norm", 1, {}), ("group_norm", 12, {"groups": 12})])
def test_fewer_than_two_values_per_sample_are_refused(name: str, channels: int, options: dict[str, int]) -> None:
    with pytest.raises(normzoo.TooFewValuesError, match="needs 2 values per sample"):
        normzoo.create(name, channels, **options).double()(values(3, channels, 1))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", DEFAULTS)
def test_autocast_keeps_the_inputs_dtype_and_layout(name: str, dtype: torch.dtype, training: bool) -> None:
    x = values(6, 12, 4, 3).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    module = normzoo.create(name, 12).train(training)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    y.float().square().sum().backward()
    assert (y.dtype, y.stride(), x.grad.dtype, module.weight.grad.dtype) == (dtype, x.stride(), dtype, torch.float32)


@pytest.mark.parametrize("name", DEFAULTS)
def test_bfloat16_is_as_close_to_float64_as_its_digits_allow(name: str) -> None:
    x = values(16, 12, 8, 8, mean=3.0).bfloat16()
    got, expected = normzoo.create(name, 12).bfloat16()(x), normzoo.create(name, 12).double()(x.double())
    assert (got.double() - expected).abs().max().item() < 2**-8 * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("name", ["batch_norm", "sync_batch_norm", "batch_renorm"])
def test_bfloat16_layers_do_not_stall_on_the_way_to_the_true_statistics(name: str) -> None:
    """In bfloat16 buffers, a true mean of 3 and variance of 4 become 2.03 and 3.34."""
    module = normzoo.create(name, 2, momentum=0.01).bfloat16()
    for seed in range(600):
        module(values(64, 2, 2, seed=seed, mean=3.0).bfloat16())
    assert module.running_mean.mean().item() == pytest.approx(3, abs=0.1)
    spread = module.running_std.square() if name == "batch_renorm" else module.running_var
    assert spread.mean().item() == pytest.approx(4, abs=0.3)


def test_none_has_no_options_and_its_output_depends_on_nothing_else() -> None:
    assert normzoo.card("none").options == {}
    assert normzoo.card("none").pools == frozenset()


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_smallest_batch_of_the_card_is_the_first_that_trains(name: str) -> None:
    for space in ((), (1, 1), (3, 3)):
        smallest = normzoo.card(name).smallest_batch(space)
        made(name, 12)(values(smallest, 12, *space))
        if smallest > 1:
            with pytest.raises(normzoo.TooFewValuesError):
                made(name, 12)(values(smallest - 1, 12, *space))
        assert smallest == (2 if "batch" in name and math.prod(space) == 1 else 1)
