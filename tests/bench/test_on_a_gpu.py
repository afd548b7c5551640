"""What only a GPU can show; skipped without one. `pytest tests/bench/test_on_a_gpu.py` runs nothing else."""

from __future__ import annotations

import importlib

import pytest
import torch

import normzoo
from normzoo_bench import accuracy

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


TRAINED = {"model": "resnet20", "train_samples": 400, "batch_size": 20, "epochs": 3, "device": "cuda"}
SERIES = ["batch_norm", "group_norm", "batch_renorm"]


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw", "learning_rate": 0.01}, {"ema": 0.9}], ids=str)
@pytest.mark.parametrize("ranks", [1, 2, 10])
@pytest.mark.parametrize("name", SERIES)
def test_a_captured_training_step_trains_as_launched_steps_do(name, ranks, changes, settings, digits):
    cell = TRAINED | {"normalizer": name, "ranks": ranks, "augment": "crop_flip(padding=1)", "precision": "float32"}
    captured, launched = (
        accuracy.measure(settings(**cell | changes, capture=one), digits).series["train_loss"]
        for one in ("auto", "off")
    )
    # two correct float32 trainings drift apart; the first epoch's 20 steps hardly do, and a warm-up that was not put
    # back, or a step that read stale order, rate or statistics, would show at once
    assert captured[0] == pytest.approx(launched[0], rel=0.02)
    assert captured[-1] == pytest.approx(launched[-1], rel=0.25)


@pytest.mark.parametrize("name", SERIES)
def test_the_first_captured_step_is_the_launched_one(name, settings, digits):
    """One step an epoch: nothing can drift yet."""
    cell = TRAINED | {"normalizer": name, "batch_size": 400, "ranks": 4, "epochs": 2, "precision": "float32"}
    captured, launched = (
        accuracy.measure(settings(**cell, capture=one), digits).series["train_loss"] for one in ("auto", "off")
    )
    assert captured == pytest.approx(launched, rel=1e-4)


@pytest.mark.parametrize("name", SERIES)
def test_seeds_that_train_side_by_side_give_what_each_gives_alone(name, settings, digits):
    cells = [settings(**TRAINED, normalizer=name, ranks=2, seed=seed, precision="float32") for seed in range(3)]
    together = accuracy.measure_together(cells, digits)
    for cell, one in zip(cells, together, strict=True):
        alone = accuracy.measure(cell, digits)
        assert one.series["train_loss"][0] == pytest.approx(alone.series["train_loss"][0], rel=0.02)


@pytest.mark.parametrize("name", SERIES)
def test_bfloat16_autocast_reaches_what_float32_reaches(name, settings, digits):
    cell = TRAINED | {"normalizer": name, "epochs": 10}
    half, full = (
        accuracy.measure(settings(**cell, precision=one), digits).metrics["test_accuracy"]
        for one in ("bfloat16", "float32")
    )
    assert half == pytest.approx(full, abs=0.1)


def test_every_reading_works_on_the_gpu(settings, digits):
    cell = TRAINED | {"ranks": 10, "readings": "all", "frozen_from": 0.5, "ema": 0.9}
    metrics = accuracy.measure(settings(**cell), digits).metrics
    wanted = ("population", "batch", "frozen", "ema", "mean_buffers")
    assert all(f"test_accuracy_{one}" in metrics for one in wanted)


def test_an_epoch_of_launched_steps_never_waits_for_the_device(settings, digits, monkeypatch):
    original = accuracy.eager

    def guarded(trainings):
        torch.cuda.set_sync_debug_mode("error")
        try:
            original(trainings)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(accuracy, "eager", guarded)
    for name in SERIES:
        accuracy.measure(settings(**TRAINED, normalizer=name, ranks=2, capture="off", augment="flip"), digits)


@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm", "sync_batch_renorm"])
def test_a_captured_graph_goes_on_as_eager_mode_would(name):
    """Replays move statistics and, for batch renorm, the ramp of its limits: nothing is frozen at capture."""
    options = {"warmup_steps": 8, "average": "cumulative"} if "renorm" in name else {}
    eager = normzoo.create(name, 16, **options).cuda()
    captured = normzoo.create(name, 16, **options).cuda()
    x = torch.randn(8, 16, 6, 6, device="cuda").contiguous(memory_format=torch.channels_last).requires_grad_()
    start = {key: value.clone() for key, value in captured.state_dict().items()}
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):  # warm-up, as capture asks for; it moves statistics
            captured(x).pow(3).sum().backward()
    torch.cuda.current_stream().wait_stream(stream)
    captured.load_state_dict(start)
    graph = torch.cuda.CUDAGraph()
    x.grad = None
    with torch.cuda.graph(graph):
        y = captured(x)
        y.pow(3).sum().backward()
    captured.load_state_dict(start)
    for step in range(6):
        with torch.no_grad():
            x.copy_(torch.randn_like(x) + 0.3 * step)
        graph.replay()
        torch.testing.assert_close(y, eager(x.detach()), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(captured.state_dict(), eager.state_dict(), rtol=1e-4, atol=1e-4)


@pytest.fixture
def alone_over_nccl(tmp_path):
    """A process group of one, whose collectives are real ones."""
    torch.distributed.init_process_group(
        "nccl", init_method=(tmp_path / "meeting").as_uri(), rank=0, world_size=1, device_id=torch.device("cuda", 0)
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", ["sync_batch_norm", "sync_batch_renorm"])
def test_synchronized_layers_over_nccl_do_not_wait_for_the_device(name, layout, alone_over_nccl, monkeypatch):
    """The path of several ranks, taken with one: equal to the layer alone, and with no host synchronization."""
    x = torch.randn(8, 16, 6, 6, device="cuda").requires_grad_()
    if layout == "channels_last":
        x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    alone, together = (normzoo.create(name, 16).cuda() for _ in range(2))
    expected = alone(x)
    (wanted,) = torch.autograd.grad(expected.pow(3).sum(), x)
    module = importlib.import_module(f"normzoo.norms.{name}")
    monkeypatch.setattr(module, "world_size", lambda group: 2)
    together(x).pow(3).sum().backward()  # what is made at the first call may wait
    x.grad, fresh = None, normzoo.create(name, 16).cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        y = fresh(x)
        y.pow(3).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(x.grad, wanted, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(fresh.state_dict(), alone.state_dict(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm", "layer_norm", "group_norm", "layer_norm_channels"])
def test_large_means_leave_a_standard_deviation_of_one_on_the_gpu(name):
    for layout in (torch.contiguous_format, torch.channels_last):
        x = (1e4 + torch.randn(32, 16, 28, 28, device="cuda")).contiguous(memory_format=layout)
        options = {"r_max": 1.0, "d_max": 0.0} if name == "batch_renorm" else {}
        y = normzoo.create(name, 16, **options).cuda()(x)
        assert y.std(correction=0).item() == pytest.approx(1, abs=1e-3)
