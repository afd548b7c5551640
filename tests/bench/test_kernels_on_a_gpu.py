"""The Triton kernels at real sizes on a GPU, against float64; skipped without one."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}

GROUPS = {
    "a stage of ResNet-50": ((32, 64, 56, 56), 32, torch.bfloat16),
    "its last one": ((32, 2048, 7, 7), 32, torch.bfloat16),
    "many samples": ((256, 64, 56, 56), 32, torch.bfloat16),
    "a chunk larger than the cache's share": ((16, 64, 224, 224), 32, torch.float16),
    "float32": ((64, 256, 28, 28), 32, torch.float32),
    "one group": ((32, 64, 56, 56), 1, torch.float32),
    "one wide group": ((32, 2048, 7, 7), 1, torch.bfloat16),
    "channels that are no power of 2": ((64, 48, 33, 35), 16, torch.float32),
    "one large volume": ((1, 32, 64, 128, 128), 8, torch.bfloat16),
    "more samples than a grid's second axis holds": ((70_000, 20), 5, torch.float32),
}
LAYERS = {
    "aligned": ((32, 64, 56, 56), torch.bfloat16),
    "half aligned": ((64, 1024, 14, 14), torch.bfloat16),
    "not aligned": ((64, 2048, 7, 7), torch.bfloat16),
    "float32": ((64, 256, 28, 28), torch.float32),
    "a volume": ((2, 48, 17, 64, 64), torch.float32),
}


def drawn(shape, dtype, *, last, offset=0.0):
    torch.manual_seed(0)
    x, gradient = (torch.randn(shape, device="cuda").add(offset).to(dtype) for offset in (offset, 0.0))
    weight, bias = torch.randn(2, shape[1], device="cuda")
    if last:
        x, gradient = (value.movedim(1, -1).contiguous().movedim(-1, 1) for value in (x, gradient))
    return x, gradient, weight, bias


def assert_all_close(found, function, gradient, *tensors):
    """Compare a value and its gradients with those of a function in float64."""
    rtol = ROUNDING[gradient.dtype]
    tensors = [tensor.double().contiguous().requires_grad_() for tensor in tensors]
    y = function(*tensors)
    wanted = [y.detach(), *torch.autograd.grad(y, tensors, gradient.double())]
    for ours, theirs in zip(found, wanted, strict=True):
        atol = rtol * float(theirs.abs().max())  # sums cancel: the error is that of their terms
        torch.testing.assert_close(ours.double(), theirs, rtol=rtol, atol=atol)


@pytest.mark.parametrize(("shape", "number", "dtype"), GROUPS.values(), ids=GROUPS)
def test_group_norm_and_its_gradients_are_those_of_float64(shape, number, dtype):
    from normzoo.kernels import triton_groups

    x, gradient, weight, bias = drawn(shape, dtype, last=True)
    y, mean, rstd = triton_groups.forward(x, number, weight, bias, 1e-5)
    found = [y, *triton_groups.backward(gradient, x, mean, rstd, weight, number)]
    assert [value.stride() for value in found[:2]] == [x.stride()] * 2
    assert_all_close(found, lambda *values: F.group_norm(values[0], number, *values[1:]), gradient, x, weight, bias)


@pytest.mark.parametrize(("shape", "dtype"), LAYERS.values(), ids=LAYERS)
def test_layer_norm_over_channels_and_its_gradients_are_those_of_float64(shape, dtype):
    from normzoo.kernels import triton_layer

    def reference(x, weight, bias):
        return F.layer_norm(x.movedim(1, -1), shape[1:2], weight, bias).movedim(-1, 1)

    x, gradient, weight, bias = drawn(shape, dtype, last=False)
    y, mean, rstd = triton_layer.forward(x, weight, bias, 1e-5)
    assert_all_close([y, *triton_layer.backward(gradient, x, mean, rstd, weight)], reference, gradient, x, weight, bias)


@pytest.mark.parametrize("number", [1, 8, 32])
def test_group_norm_is_right_far_from_zero(number):
    from normzoo.kernels import triton_groups

    x, _, _, _ = drawn((8, 64, 56, 56), torch.float32, last=True, offset=1e4)
    ones = torch.ones(64, device="cuda")
    y, _, _ = triton_groups.forward(x, number, ones, 0 * ones, 1e-5)
    std = y.double().reshape(8, number, -1).std(2, correction=0)
    torch.testing.assert_close(std, torch.ones_like(std), rtol=0, atol=1e-3)


def test_layer_norm_over_channels_is_right_far_from_zero():
    from normzoo.kernels import triton_layer

    x, _, _, _ = drawn((8, 256, 28, 28), torch.float32, last=False, offset=1e4)
    ones = torch.ones(256, device="cuda")
    std = triton_layer.forward(x, ones, 0 * ones, 1e-5)[0].double().std(1, correction=0)
    torch.testing.assert_close(std, torch.ones_like(std), rtol=0, atol=1e-3)


def test_a_batch_of_more_than_two_to_the_31_values_is_normalized_to_its_end():
    """Offsets of 32 bits would wrap. Needs about 9 GB."""
    from normzoo.kernels import triton_groups

    if torch.cuda.mem_get_info()[0] < 12e9:
        pytest.skip("needs 12 GB of free GPU memory")
    x = torch.zeros(2**31 // 2**20 + 2, 128, 128, 64, device="cuda", dtype=torch.bfloat16).movedim(-1, 1)
    x[-1] = torch.randn(64, 128, 128, device="cuda")
    ones = torch.ones(64, device="cuda")
    y, mean, _ = triton_groups.forward(x, 8, ones, 0 * ones, 1e-5)
    wanted = F.group_norm(x[-1:].double().contiguous(), 8)
    torch.testing.assert_close(y[-1:].double(), wanted, rtol=1e-2, atol=1e-2)
    assert float(mean[:-1].abs().max()) == 0


def test_gradients_are_the_same_to_the_bit_every_time():
    from normzoo.kernels import triton_groups

    x, gradient, weight, bias = drawn((16, 64, 56, 56), torch.bfloat16, last=True)
    _, mean, rstd = triton_groups.forward(x, 32, weight, bias, 1e-5)
    first, second = (triton_groups.backward(gradient, x, mean, rstd, weight, 32) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("channels", [3, 64, 2048, 5000])
def test_the_correction_moves_its_statistics_and_its_counter_once_per_call(channels):
    """Every warp reads the counter, and one writes it: over 1,000 calls a race would show in the running mean."""
    from normzoo.kernels.triton_renorm import correct

    mean, var, weight, bias = torch.rand(4, channels, device="cuda").add(0.5)
    state = torch.zeros(channels, device="cuda"), torch.ones(channels, device="cuda")
    counter = torch.tensor(0, device="cuda")
    options = {"momentum": 0.0, "r_max": 3.0, "d_max": 5.0, "warmup_steps": 100, "cumulative": True, "eps": 1e-5}
    for step in range(1000):  # a cumulative mean of step numbers, whose weight is 1/counter
        found = correct(mean + step, var, *state, counter, weight, bias, move=True, **options)
    assert int(counter) == 1000
    torch.testing.assert_close(state[0], mean + 499.5, rtol=1e-4, atol=0)
    torch.testing.assert_close(found.invstd.double(), (var.double() + 1e-5).rsqrt(), rtol=1e-6, atol=0)
    torch.testing.assert_close(found.shift, bias + weight * 5.0, rtol=1e-5, atol=0)
