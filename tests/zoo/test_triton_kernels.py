"""The Triton kernels under Triton's interpreter, on CPU, against float64: what they compute, not how fast."""

from __future__ import annotations

import importlib
import math
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from normzoo.kernels import triton_plans
from normzoo.kernels.triton_plans import group_plan, layer_plan

pytest.importorskip("triton", reason="Triton is not installed")
import triton.language as tl  # only after the skip

PACKAGE = "normzoo.kernels"
MODULES = ["triton_tiles", "triton_group_forward", "triton_group_backward"]
MODULES += ["triton_groups", "triton_layer", "triton_renorm"]


@pytest.fixture(scope="module")
def kernels():
    """Give copies of the kernel modules that are interpreted, and leave this process's own as they were.

    The decorator chooses when a module is imported, so the copies are imported under the interpreter's switch. Triton's
    own ``tl.sum`` is such a function too, and was imported without it; a plain function serves instead.
    """
    package = importlib.import_module(PACKAGE)
    names = {f"{PACKAGE}.{name}" for name in MODULES}
    ours = {name: sys.modules.pop(name) for name in names & set(sys.modules)}
    attributes = {name: vars(package).pop(name) for name in MODULES if name in vars(package)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        # an interpreted tl.sum would leave tl.core patched, and nothing would compile in this process any more
        patch.setattr(tl, "sum", lambda values, axis: tl.reduce(values, axis, tl.standard._sum_combine))
        copies = {name: importlib.import_module(f"{PACKAGE}.{name}") for name in MODULES}
        for name in MODULES:
            del sys.modules[f"{PACKAGE}.{name}"]
            delattr(package, name)
        sys.modules.update(ours)
        vars(package).update(attributes)
        yield copies


@pytest.fixture
def groups(kernels) -> ModuleType:
    return kernels["triton_groups"]


@pytest.fixture
def layer(kernels) -> ModuleType:
    return kernels["triton_layer"]


@pytest.fixture
def correct(kernels):
    return kernels["triton_renorm"].correct


@pytest.fixture(params=["whole", "small tiles", "split"])
def strategy(request, monkeypatch):
    """Have small inputs cut as large ones are: into several tiles, into parts that several programs share."""
    if request.param != "whole":
        monkeypatch.setattr(triton_plans, "PER_THREAD", 1)
    if request.param == "split":
        monkeypatch.setattr(triton_plans, "WORTH_A_PROGRAM", 256)
        monkeypatch.setattr(triton_plans, "MULTIPROCESSORS", 11)
    forget_plans()
    yield request.param
    forget_plans()


def forget_plans():
    group_plan.cache_clear()
    layer_plan.cache_clear()


def drawn(shape, dtype=torch.float32, *, last=True, offset=0.0, seed=0):
    """Give input, gradient, weight and bias; ``last`` puts channels last in memory."""
    random = torch.Generator().manual_seed(seed)
    x, gradient = torch.randn(2, *shape, generator=random)
    weight, bias = torch.randn(2, shape[1], generator=random)
    x, gradient = (x + offset).to(dtype), gradient.to(dtype)
    return (channels_last(x), channels_last(gradient), weight, bias) if last else (x, gradient, weight, bias)


def channels_last(x):
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def differentiated(function, gradient, *tensors):
    """Give a function's value and gradients in float64."""
    tensors = [tensor.double().contiguous().requires_grad_() for tensor in tensors]
    y = function(*tensors)
    return [y.detach(), *torch.autograd.grad(y, tensors, gradient.double())]


def assert_all_close(found, wanted, dtype):
    rtol = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}[dtype]
    for ours, theirs in zip(found, wanted, strict=True):
        atol = rtol * float(theirs.abs().max())  # sums cancel: the error is that of their terms
        torch.testing.assert_close(ours.double(), theirs, rtol=rtol, atol=atol)


GROUP_CASES = {
    "three channels per group": ((2, 48, 5, 7), 16, torch.float32),
    "five groups of four": ((3, 20, 6, 6), 5, torch.float32),
    "no space": ((5, 16), 4, torch.float32),
    "one position": ((2, 24, 1, 1), 3, torch.float32),
    "a volume": ((2, 16, 3, 4, 5), 4, torch.float32),
    "one group": ((2, 12, 9, 5), 1, torch.float32),
    "more channels than a line": ((2, 100, 3, 7), 2, torch.float32),
    "bfloat16": ((2, 32, 8, 9), 8, torch.bfloat16),
    "float16": ((2, 32, 6, 6), 32, torch.float16),
}


@pytest.mark.parametrize(("shape", "number", "dtype"), GROUP_CASES.values(), ids=GROUP_CASES)
def test_group_norm_and_its_gradients_are_those_of_float64(groups, strategy, shape, number, dtype):
    x, gradient, weight, bias = drawn(shape, dtype)
    y, mean, rstd = groups.forward(x, number, weight, bias, 1e-5)
    found = [y, *groups.backward(gradient, x, mean, rstd, weight, number)]
    wanted = differentiated(lambda *values: F.group_norm(values[0], number, *values[1:]), gradient, x, weight, bias)
    assert_all_close(found, wanted, dtype)


@pytest.mark.parametrize("tensors", [1, 2])
def test_the_strategy_called_split_splits(strategy, tensors):
    parts = group_plan(2, 72, 32, 8, 4, tensors).parts
    assert (parts > 1) == (strategy == "split")


@pytest.mark.parametrize("number", [1, 8])
def test_group_norm_is_right_far_from_zero(groups, strategy, number):
    x, _, _, _ = drawn((2, 16, 12, 12), offset=1e4)
    y, mean, rstd = groups.forward(x, number, torch.ones(16), torch.zeros(16), 1e-5)
    values = x.double().reshape(2, number, -1)
    torch.testing.assert_close(mean.double(), values.mean(2), rtol=1e-7, atol=0)
    torch.testing.assert_close(rstd.double(), (values.var(2, correction=0) + 1e-5).rsqrt(), rtol=1e-4, atol=0)
    assert y.double().reshape(2, number, -1).std(2, correction=0) == pytest.approx(np.ones((2, number)), abs=1e-3)


def test_group_norm_is_right_where_the_first_rows_are_far_from_the_rest(groups, strategy):
    """A shift taken from the first rows would not do."""
    x, _, weight, bias = drawn((2, 16, 16, 16))
    x[:, :, 0] -= 1e4
    y, _, _ = groups.forward(x, 4, weight, bias, 1e-5)
    wanted = F.group_norm(x.double(), 4, weight.double(), bias.double())
    torch.testing.assert_close(y.double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_result_has_its_inputs_type_and_layout(groups, dtype):
    x, gradient, weight, bias = drawn((2, 8, 3, 5), dtype)
    y, mean, rstd = groups.forward(x, 2, weight, bias, 1e-5)
    of_x, of_weight, of_bias = groups.backward(gradient, x, mean, rstd, weight, 2)
    assert [(value.dtype, value.stride()) for value in (y, of_x)] == [(dtype, x.stride())] * 2
    assert {value.dtype for value in (mean, rstd, of_weight, of_bias)} == {torch.float32}


def test_a_narrow_weight_is_read_as_it_is(groups):
    x, _, weight, bias = drawn((2, 8, 3, 5))
    narrow = weight.bfloat16()
    y, _, _ = groups.forward(x, 2, narrow, bias.bfloat16(), 1e-5)
    wanted = F.group_norm(x.double(), 2, narrow.double(), bias.bfloat16().double())
    torch.testing.assert_close(y.double(), wanted, rtol=1e-5, atol=1e-5)


def test_group_norm_refuses_a_contiguous_image(groups):
    x, gradient, weight, bias = drawn((2, 8, 3, 5))
    with pytest.raises(ValueError, match=r"x must lie in memory as \[N, S, C\]"):
        groups.forward(x.contiguous(), 2, weight, bias, 1e-5)
    _, mean, rstd = groups.forward(x, 2, weight, bias, 1e-5)
    with pytest.raises(ValueError, match="the gradient must lie in memory"):
        groups.backward(gradient.contiguous(), x, mean, rstd, weight, 2)


def test_layer_norm_refuses_channels_last(layer):
    x, _, weight, bias = drawn((2, 8, 3, 5))
    with pytest.raises(ValueError, match=r"x must lie in memory as \[N, C, S\]"):
        layer.forward(x, weight, bias, 1e-5)


def test_float64_is_refused_rather_than_narrowed(groups, layer):
    x = torch.zeros(2, 8)
    for call in (lambda: groups.forward(x.double(), 2, x[0], x[0], 0.1), lambda: layer.forward(x.double(), x, x, 0.1)):
        with pytest.raises(ValueError, match=r"got torch\.float64"):
            call()


LAYER_CASES = {
    "few": ((2, 5, 3, 3), torch.float32),
    "channels that are no power of 2": ((2, 48, 7, 5), torch.float32),
    "one position": ((3, 20), torch.float32),
    "a volume": ((2, 6, 3, 4, 5), torch.float32),
    "more positions than a line": ((2, 12, 9, 11), torch.float32),
    "bfloat16": ((2, 40, 8, 9), torch.bfloat16),
}


@pytest.mark.parametrize(("shape", "dtype"), LAYER_CASES.values(), ids=LAYER_CASES)
@pytest.mark.parametrize("strategy", ["whole", "small tiles"], indirect=True)
def test_layer_norm_over_channels_and_its_gradients_are_those_of_float64(layer, strategy, shape, dtype):
    def reference(x, weight, bias):
        return F.layer_norm(x.movedim(1, -1), shape[1:2], weight, bias).movedim(-1, 1)

    x, gradient, weight, bias = drawn(shape, dtype, last=False)
    y, mean, rstd = layer.forward(x, weight, bias, 1e-5)
    found = [y, *layer.backward(gradient, x, mean, rstd, weight)]
    assert_all_close(found, differentiated(reference, gradient, x, weight, bias), dtype)
    assert (y.dtype, y.stride()) == (x.dtype, x.stride())


@pytest.mark.parametrize("strategy", ["whole", "small tiles"], indirect=True)
def test_layer_norm_over_channels_is_right_far_from_zero(layer, strategy):
    x, _, _, _ = drawn((2, 96, 3, 5), last=False, offset=1e4)
    y, mean, _ = layer.forward(x, torch.ones(96), torch.zeros(96), 1e-5)
    torch.testing.assert_close(mean.double(), x.double().mean(1).reshape(2, -1), rtol=1e-7, atol=0)
    assert y.double().std(1, correction=0).numpy() == pytest.approx(np.ones((2, 3, 5)), abs=1e-3)


class Renormed:
    """Batch Renorm's running statistics and correction straight from the paper, in float64 (Ioffe 2017)."""

    def __init__(self, channels, *, momentum, r_max, d_max, warmup_steps, cumulative):
        self.mean, self.std, self.steps = np.zeros(channels), np.ones(channels), 0
        self.momentum, self.limits, self.warmup, self.cumulative = momentum, (r_max, d_max), warmup_steps, cumulative

    def step(self, mean, var, weight, bias, eps):
        """Give invstd, r, d, scale and shift, then move."""
        r_max, d_max = self.limits
        if self.warmup:
            r_max = np.interp(self.steps / self.warmup, [1 / 8, 1], [1, r_max])
            d_max = np.interp(self.steps / self.warmup, [1 / 8, 5 / 8], [0, d_max])
        std = np.sqrt(var + eps)
        r = np.clip(std / self.std, 1 / r_max, r_max)
        d = np.clip((mean - self.mean) / self.std, -d_max, d_max)
        self.steps += 1
        share = max(1 / self.steps, self.momentum) if self.cumulative else self.momentum
        self.mean, self.std = (1 - share) * self.mean + share * mean, (1 - share) * self.std + share * std
        return 1 / std, r, d, weight * r, bias + weight * d


def renorm_state(channels):
    return torch.zeros(channels), torch.ones(channels), torch.tensor(0)


@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize("warmup_steps", [0, 10])
@pytest.mark.parametrize("channels", [3, 2100])
def test_the_correction_is_the_papers_at_every_step(correct, channels, warmup_steps, cumulative):
    options = {"momentum": 0.1, "r_max": 1.4, "d_max": 0.5, "warmup_steps": warmup_steps, "cumulative": cumulative}
    reference, state, random = Renormed(channels, **options), renorm_state(channels), np.random.default_rng(0)
    for _ in range(12):
        mean, var, weight, bias = random.normal(size=(4, channels)).astype(np.float32)
        tensors = [torch.from_numpy(value) for value in (mean, var**2)]
        affine = [torch.from_numpy(value) for value in (weight, bias)]
        found = correct(*tensors, *state, *affine, eps=1e-3, move=True, **options)
        wanted = reference.step(mean.astype(np.float64), tensors[1].double().numpy(), weight, bias, 1e-3)
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state[0].numpy(), reference.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state[1].numpy(), reference.std, rtol=1e-5)
    assert int(state[2]) == 12


def one_correction(correct, state, **changed):
    options = {"eps": 1e-5, "momentum": 0.1, "r_max": 3.0, "d_max": 5.0, "warmup_steps": 0, "cumulative": False}
    tensors = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).abs()
    return correct(*tensors[:2], *state, *tensors[2:], **(options | {"move": True} | changed))


def test_nothing_moves_where_nothing_should(correct):
    state = renorm_state(5)
    one_correction(correct, state, move=False)
    assert [value.tolist() for value in state] == [[0.0] * 5, [1.0] * 5, 0]


def test_no_correction_is_exactly_none(correct):
    """With r_max = 1 and d_max = 0 the layer is batch norm, to the bit."""
    found = one_correction(correct, renorm_state(5), r_max=1, d_max=0)
    assert found.r.tolist() == [1.0] * 5
    assert found.d.abs().tolist() == [0.0] * 5


def test_a_diverged_statistic_stays_visible(correct):
    state = renorm_state(5)
    state[0][2] = math.nan
    assert torch.isnan(one_correction(correct, state).shift).tolist() == [False, False, True, False, False]


def test_float64_statistics_are_refused(correct):
    with pytest.raises(ValueError, match=r"running_mean must be float32 and contiguous, got torch\.float64"):
        one_correction(correct, (torch.zeros(5).double(), torch.ones(5), torch.tensor(0)))
