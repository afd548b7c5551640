"""What the normalizers compute with, against float64: statistics, gradients of gradients, checkpoints, compilation."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from test_normalizers import made, values
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import normzoo
from normzoo.kernels import moments
from normzoo.kernels.moments import batch_moments, merge
from normzoo.kernels.recompute import KEPT

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
BATCH = ["batch_norm", "batch_renorm", "sync_batch_norm", "sync_batch_renorm"]
ALL = [*BATCH, "layer_norm", "group_norm", "layer_norm_channels", "none"]


def exact(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    flat = x.double().transpose(0, 1).flatten(1).numpy()
    return flat.mean(1), flat.var(1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "shape", [(6, 5), (6, 5, 7), (6, 5, 4, 3), (6, 5, 20, 20), (2, 5, 3, 4, 2), (1, 5, 1, 2), (3, 1, 8, 8)]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_batch_moments_are_those_of_float64(shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> None:
    x = values(*shape).to(dtype)
    x = x.contiguous(memory_format=LAYOUTS[layout]) if len(shape) == 4 else x
    mean, var = batch_moments(x)
    assert mean.dtype == var.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    close = 1e-12 if dtype == torch.float64 else 2e-6
    np.testing.assert_allclose(mean.numpy(), exact(x)[0], rtol=close, atol=close)
    np.testing.assert_allclose(var.numpy(), exact(x)[1], rtol=close, atol=close)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mean", [1e3, 11_111.0, 1e5])
@pytest.mark.parametrize("rows_at_once", [2**17, 1000])
def test_batch_moments_survive_large_means(
    mean: float, layout: str, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float32 sums of 50,000 rows near 11,111 are off by whole standard deviations."""
    monkeypatch.setattr(moments, "MOST_ROWS", rows_at_once)
    x = values(16, 3, 56, 56, mean=mean, std=1.0).float().contiguous(memory_format=LAYOUTS[layout])
    found, var = batch_moments(x)
    np.testing.assert_allclose(found.numpy(), exact(x)[0], rtol=2e-7)
    np.testing.assert_allclose(var.numpy(), exact(x)[1], rtol=1e-3)


def test_torchs_own_statistics_do_not_survive_large_means_in_channels_last() -> None:
    """The reason for the above; when this fails, torch has mended it, and the zoo may use its kernel again."""
    x = values(16, 3, 56, 56, mean=11_111.0, std=1.0).float().contiguous(memory_format=torch.channels_last)
    _, var = torch.batch_norm_update_stats(x, torch.zeros(3), torch.ones(3), 0.0)
    assert (var - 1).abs().max() > 0.1


@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm", "layer_norm", "group_norm", "layer_norm_channels"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_large_means_leave_a_standard_deviation_of_one(name: str, layout: str) -> None:
    """At mean 1e4 and in float32, in either layout, over 100,000 values per channel."""
    x = values(32, 8, 56, 56, mean=1e4, std=1.0).float().contiguous(memory_format=LAYOUTS[layout])
    options = {"r_max": 1.0, "d_max": 0.0} if name == "batch_renorm" else {}
    assert normzoo.create(name, 8, **options)(x).std(correction=0).item() == pytest.approx(1, abs=1e-3)


def test_merged_parts_are_the_whole_however_it_is_cut() -> None:
    x = values(60, 4, mean=50.0).numpy()
    for cuts in ([60], [1, 59], [10, 0, 20, 30], [1] * 60):
        parts = np.split(x, np.cumsum(cuts)[:-1])
        filled = [(part.mean(0), part.var(0)) if len(part) else (np.zeros(4), np.zeros(4)) for part in parts]
        means, variances = (torch.from_numpy(np.stack(one)) for one in zip(*filled, strict=True))
        mean, var, count = merge(means, variances, torch.tensor(cuts, dtype=torch.float64)[:, None])
        np.testing.assert_allclose(mean.numpy(), x.mean(0), rtol=1e-13)
        np.testing.assert_allclose(var.numpy(), x.var(0), rtol=1e-12)
        assert count == 60


def kept_for_backward(module: nn.Module, x: Tensor) -> float:
    """Bytes that forward saves, as a multiple of the input's, parameters apart."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = module(x.requires_grad_())
    assert y.requires_grad
    return sum(kept.values()) / x.untyped_storage().nbytes()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ALL)
def test_backward_keeps_the_input_and_nothing_else_of_its_size(name: str, dtype: torch.dtype, layout: str) -> None:
    """Beside it, two float32 per statistic: per position of 64 channels these are a sixteenth of bfloat16 input."""
    x = values(16, 64, 14, 14).to(dtype).contiguous(memory_format=LAYOUTS[layout])
    beside = 0.0626 if name == "layer_norm_channels" else 0.03
    assert 1 <= kept_for_backward(normzoo.create(name, 64), x) <= 1 + beside


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ALL)
def test_gradients_of_gradients_are_those_of_finite_differences(name: str, layout: str) -> None:
    """For batch renorm r and d are at their limits, where they are constant; far from its statistics."""
    module = made(name, 4)
    x = values(3, 4, 2, 3, mean=500.0, std=50.0) if "renorm" in name else values(3, 4, 2, 3)
    x = x.contiguous(memory_format=LAYOUTS[layout]).requires_grad_()

    def output(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        parameters = {"weight": weight, "bias": bias}
        y: Tensor = torch.func.functional_call(copy.deepcopy(module), parameters, (x,))
        return y

    inputs = (x, *(parameter.detach().clone().requires_grad_() for parameter in module.parameters()))
    assert torch.autograd.gradgradcheck(output, inputs, eps=1e-5, atol=1e-6, rtol=1e-4)


def trained(module: nn.Module, run: Callable[[nn.Module, Tensor], Tensor]) -> list[Tensor]:
    """Train a layer for three steps of two forwards each; give its gradients and buffers."""
    gradients = []
    for step in range(3):
        inputs = [values(5, 4, 3, 3, seed=10 * step + i, mean=0.4 * step).requires_grad_() for i in range(2)]
        sum(run(module, x).pow(3).sum() for x in inputs).backward()
        gradients += [x.grad for x in inputs]
    return [*gradients, *(p.grad for p in module.parameters()), *(b.clone() for b in module.buffers())]


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("name", BATCH)
def test_a_checkpointed_layer_trains_like_a_plain_one(name: str, reentrant: bool) -> None:
    module = made(name, 4, momentum=0.2)
    plain = trained(copy.deepcopy(module), lambda layer, x: layer(x))
    saved = trained(copy.deepcopy(module), lambda layer, x: checkpoint(layer, x, use_reentrant=reentrant))
    torch.testing.assert_close(saved, plain, rtol=1e-13, atol=1e-13)


def test_a_recomputation_that_nothing_matches_gives_no_number_instead_of_a_wrong_one() -> None:
    """More forwards than are remembered, all before the first backward."""
    module, inputs = made("batch_renorm", 4), [values(5, 4, seed=i).requires_grad_() for i in range(KEPT + 2)]
    outputs = [checkpoint(module, x, use_reentrant=False) for x in inputs]
    outputs[0].sum().backward()
    outputs[-1].pow(3).sum().backward()
    assert inputs[0].grad.isnan().all()
    assert inputs[-1].grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ALL)
def test_compiled_by_inductor_it_trains_as_in_eager_mode(name: str, layout: str) -> None:
    torch._dynamo.reset()
    options = {"warmup_steps": 6, "average": "cumulative"} if "renorm" in name else {}
    eager = made(name, 8, torch.float32, **options)
    other = copy.deepcopy(eager)
    compiled = torch.compile(other, fullgraph=True)
    for step in range(4):
        found = []
        for module in (eager, compiled):
            x = values(6, 8, 5, 4, seed=step).float().contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
            y = module(x)
            y.pow(3).sum().backward()
            found.append([y.detach(), x.grad])
        assert found[1][0].stride() == found[0][0].stride()
        torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.state_dict(), eager.state_dict(), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_ramp_compiles_once_and_not_anew_each_step() -> None:
    """Python numbers as limits would be constants of the graph, which step after step is traced again."""
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    module = torch.compile(made("batch_renorm", 4, warmup_steps=8), fullgraph=True, backend=counter)
    for step in range(6):
        module(values(5, 4, 3, 3, seed=step).requires_grad_()).sum().backward()
    assert counter.frame_count == 1
