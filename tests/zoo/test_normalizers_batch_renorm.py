"""Batch Renormalization to the letter of Ioffe 2017."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import references
import torch
from references import Array
from test_normalizers import affine, made, values
from torch import Tensor, nn

import normzoo

CHANNELS = 6


def steps(count: int) -> list[Tensor]:
    """Inputs that drift, so that every step is corrected by another r and d."""
    return [values(5, CHANNELS, 3, seed=seed, mean=0.3 * seed, std=1 + 0.2 * seed) for seed in range(count)]


def std_of(x: Tensor, eps: float = 1e-5) -> Array:
    return np.sqrt(references.batch_moments(x.numpy())[1] + eps)


def test_many_steps_are_algorithm_1() -> None:
    """Outputs and both moving statistics, with corrections inside and at their limits."""
    module = made("batch_renorm", CHANNELS, momentum=0.1, r_max=1.5, d_max=0.5)
    paper = references.BatchRenorm(CHANNELS, momentum=0.1)
    for x in steps(12):
        expected = paper.train(x.numpy(), *affine(module), r_max=1.5, d_max=0.5)
        np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(module.running_mean.numpy(), paper.mean, rtol=1e-11)
        np.testing.assert_allclose(module.running_std.numpy(), paper.std, rtol=1e-11)
    x = values(5, CHANNELS, 3, seed=99)
    expected = paper.infer(x.numpy(), *affine(module))
    np.testing.assert_allclose(module.eval()(x).detach().numpy(), expected, rtol=1e-11, atol=1e-11)


def test_the_moving_statistic_is_the_biased_standard_deviation_with_eps_inside() -> None:
    """After one step of momentum 1/2 from 1; the root of a moving variance would be another number."""
    module, x = made("batch_renorm", CHANNELS, momentum=0.5, eps=0.1), steps(1)[0]
    module(x)
    np.testing.assert_allclose(module.running_std.numpy(), 0.5 + 0.5 * std_of(x, eps=0.1), rtol=1e-12)
    assert not np.allclose(module.running_std.numpy(), np.sqrt(0.5 + 0.5 * std_of(x, eps=0.1) ** 2), rtol=1e-3)


def test_r_and_d_use_the_statistics_from_before_the_update() -> None:
    """With momentum 1 the statistics after the update are the batch's, and would correct nothing."""
    module, x = made("batch_renorm", CHANNELS, momentum=1.0), steps(1)[0]
    expected = references.BatchRenorm(CHANNELS, momentum=1.0).train(x.numpy(), *affine(module))
    y = module(x).detach().numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-11)
    assert not np.allclose(y, references.batch_norm(x.numpy(), *affine(module)), atol=1e-2)


@pytest.mark.parametrize("space", [(), (7,), (4, 3)])
def test_it_equals_batch_norm_when_no_correction_is_allowed(space: tuple[int, ...]) -> None:
    """With r_max = 1 and d_max = 0 the correction vanishes (Ioffe 2017, section 3), forward and backward."""
    renorm, batch = made("batch_renorm", CHANNELS, r_max=1.0, d_max=0.0), made("batch_norm", CHANNELS)
    for seed in range(4):
        inputs = [values(5, CHANNELS, *space, seed=seed).requires_grad_() for _ in range(2)]
        outputs = [module(x) for module, x in zip((renorm, batch), inputs, strict=True)]
        for y in outputs:
            y.pow(3).sum().backward()
        torch.testing.assert_close(*outputs, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(renorm.weight.grad, batch.weight.grad, rtol=1e-12, atol=1e-12)


def test_unclipped_training_output_is_the_eval_output_under_the_statistics_from_before() -> None:
    module = made("batch_renorm", CHANNELS, momentum=0.1, r_max=1e6, d_max=1e6)
    for x in steps(6):
        expected = copy.deepcopy(module).eval()(x)
        torch.testing.assert_close(module(x), expected, rtol=1e-11, atol=1e-11)


def gradients(module: nn.Module, x: Tensor, g: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    module.zero_grad()
    module(x).backward(g)
    return [x.grad, module.weight.grad, module.bias.grad]


@pytest.mark.parametrize(("r_max", "d_max"), [(1.0, 0.0), (1.1, 0.2), (3.0, 5.0), (1e6, 1e6)])
def test_gradients_are_the_papers_with_r_and_d_constant(r_max: float, d_max: float) -> None:
    """Against the chain rule written out, and against plain autograd through an r and d that are detached."""
    module = made("batch_renorm", CHANNELS, momentum=0.1, r_max=r_max, d_max=d_max)
    for x in steps(4):
        mean, std = module.running_mean.numpy().copy(), module.running_std.numpy().copy()
        r = np.clip(std_of(x) / std, 1 / r_max, r_max)
        d = np.clip((references.batch_moments(x.numpy())[0] - mean) / std, -d_max, d_max)
        g = values(*x.shape, seed=50, mean=0.0)
        found = gradients(module, x, g)
        expected = references.batch_renorm_gradients(x.numpy(), g.numpy(), affine(module)[0], r, d)
        for got, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-9, atol=1e-10)
        by_autograd = autograd_oracle(module, x, g, torch.from_numpy(r), torch.from_numpy(d))
        torch.testing.assert_close(found, by_autograd, rtol=1e-9, atol=1e-10)


def autograd_oracle(module: nn.Module, x: Tensor, g: Tensor, r: Tensor, d: Tensor) -> list[Tensor]:
    """Differentiate γ(r·(x − μ_B)/σ_B + d) + β by autograd; r and d [C] carry no gradient."""
    x, weight, bias = (tensor.detach().clone().requires_grad_() for tensor in (x, module.weight, module.bias))
    centred = x - x.mean((0, 2), keepdim=True)
    normalized = centred / (centred.square().mean((0, 2), keepdim=True) + module.eps).sqrt()
    y = weight[:, None] * (r[:, None] * normalized + d[:, None]) + bias[:, None]
    return list(torch.autograd.grad(y, [x, weight, bias], g))


def test_unclipped_gradients_depend_on_batch_mates_and_outputs_do_not() -> None:
    module = made("batch_renorm", CHANNELS, r_max=1e6, d_max=1e6)
    x = steps(1)[0].requires_grad_()
    (gradient,) = torch.autograd.grad(copy.deepcopy(module)(x)[0, 0, 0], x)
    assert (gradient[1:, 0] != 0).all()
    other = torch.cat([x[:1], values(4, CHANNELS, 3, seed=8)])
    torch.testing.assert_close(copy.deepcopy(module)(x)[0], copy.deepcopy(module)(other)[0], rtol=1e-11, atol=1e-11)


def limits_at(step: int, warmup_steps: int) -> tuple[float, float]:
    """Read r and d off a layer whose input is so far beyond its running statistics that both are at their limits."""
    module = normzoo.create("batch_renorm", 2, warmup_steps=warmup_steps).double()
    module.num_batches_tracked.fill_(step)
    x = values(50, 2, mean=1e6, std=1e3)
    y = module(x).detach()
    return y.std(0, correction=0).mean().item(), y.mean(0).mean().item()


@pytest.mark.parametrize(
    ("step", "r_max", "d_max"),
    [
        (0, 1, 0),
        (5_000, 1, 0),  # the paper: 1 and 0 for the first 5k steps
        (15_000, 1 + 2 * 10 / 35, 2.5),  # halfway from 5k to 25k
        (25_000, 1 + 2 * 20 / 35, 5),  # d_max is reached
        (40_000, 3, 5),  # r_max is reached
        (160_000, 3, 5),  # and neither grows further
    ],
)
def test_the_limits_ramp_as_in_the_paper(step: int, r_max: float, d_max: float) -> None:
    """Ioffe 2017, section 4: to 3 from 5k to 40k steps and to 5 from 5k to 25k, as parts of a warm-up of 40k."""
    assert limits_at(step, warmup_steps=40_000) == pytest.approx((r_max, d_max), abs=1e-6)


def test_without_a_warm_up_the_limits_are_there_from_the_first_step() -> None:
    assert limits_at(0, warmup_steps=0) == pytest.approx((3, 5), abs=1e-6)


def test_a_cumulative_average_is_the_plain_mean_of_the_first_steps() -> None:
    module, inputs = made("batch_renorm", CHANNELS, momentum=0.1, average="cumulative"), steps(10)
    for x in inputs:
        module(x)
    np.testing.assert_allclose(
        module.running_mean.numpy(), np.mean([references.batch_moments(x.numpy())[0] for x in inputs], axis=0)
    )
    np.testing.assert_allclose(module.running_std.numpy(), np.mean([std_of(x) for x in inputs], axis=0))


def test_a_cumulative_average_weighs_later_steps_by_momentum() -> None:
    module, inputs = made("batch_renorm", CHANNELS, momentum=0.25, average="cumulative"), steps(6)
    for x in inputs[:5]:
        module(x)
    before = module.running_mean.numpy().copy()
    module(inputs[5])
    batch = references.batch_moments(inputs[5].numpy())[0]
    np.testing.assert_allclose(module.running_mean.numpy(), 0.75 * before + 0.25 * batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r_max": 0.5}, r"needs r_max >= 1.*r_max=0\.5"),
        ({"d_max": -1.0}, r"d_max >= 0.*d_max=-1"),
        ({"warmup_steps": -1}, r"warmup_steps >= 0.*warmup_steps=-1"),
        ({"average": "cumulativ"}, r"average is one of exponential, cumulative, got 'cumulativ'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(normzoo.NormalizerOptionError, match="batch_renorm: .*" + message):
        normzoo.create("batch_renorm", CHANNELS, **options)


def test_a_run_of_400_steps_starts_cumulatively_and_ramps_over_its_first_quarter() -> None:
    expected = {"average": "cumulative", "warmup_steps": 100}
    assert normzoo.card("batch_renorm").factory.run_options(400) == expected
