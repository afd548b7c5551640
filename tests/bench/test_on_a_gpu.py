"""What only a GPU can show; skipped without one. `pytest tests/bench/test_on_a_gpu.py` runs nothing else."""

from __future__ import annotations

import pytest
import torch

import normzoo
from normzoo_bench import accuracy, throughput
from normzoo_suites.settings import ThroughputSettings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
NAMES = normzoo.names()


def on(device, name, x):
    """Give a training step's output, input gradient and buffers, computed on a device and brought back."""
    torch.manual_seed(0)
    layer = normzoo.create(name, x.shape[1]).to(device, torch.float32)
    x = x.to(device).requires_grad_()
    y = layer(x)
    y.float().square().mul(torch.linspace(-1, 1, y.numel(), device=device).view(y.shape)).sum().backward()
    found = [y.detach(), x.grad, *(buffer.float() for buffer in layer.buffers())]
    return [value.cpu().float() for value in found], y


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", NAMES)
def test_a_layer_computes_on_the_gpu_what_it_computes_on_the_cpu(name, layout):
    x = torch.randn(8, 16, 6, 6)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    (theirs, _), (ours, y) = on("cpu", name, x), on("cuda", name, x)
    assert y.stride() == x.stride()
    for got, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_narrow_input_keeps_its_type_and_layout(name):
    x = torch.randn(8, 16, 6, 6, device="cuda", dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    y = normzoo.create(name, 16).cuda()(x)
    assert (y.dtype, y.stride()) == (x.dtype, x.stride())


@pytest.mark.parametrize("name", NAMES)
def test_autocast_keeps_the_inputs_type(name):
    x = torch.randn(8, 16, 6, 6, device="cuda", dtype=torch.bfloat16)
    with torch.autocast("cuda", torch.bfloat16):
        assert normzoo.create(name, 16).cuda()(x).dtype == torch.bfloat16


@pytest.mark.parametrize("name", NAMES)
def test_training_on_the_gpu_reaches_what_training_on_the_cpu_reaches(name, settings, digits):
    ours, theirs = (
        accuracy.measure(settings(normalizer=name, epochs=2, ranks=5, device=device), digits).metrics["test_accuracy"]
        for device in ("cuda", "cpu")
    )
    assert ours == pytest.approx(theirs, abs=0.05)


@pytest.mark.parametrize("direction", ["forward", "forward_backward", "eval"])
def test_a_layer_is_timed_on_the_gpu_once_it_agrees_with_float64(direction):
    cell = {"normalizer": "batch_norm", "shape": "64x56x56", "batch_size": 64, "direction": direction, "device": "cuda"}
    metrics = throughput.measure(ThroughputSettings.model_validate(cell)).metrics
    assert metrics["step_ms"] > 0
    assert metrics["error_vs_float64"] < 1e-4
