"""The measure ``throughput``: the time of one layer, paired with batch norm's in one process."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

import normzoo
from normzoo import TooFewValuesError
from normzoo_bench.result import CannotRun, Result
from normzoo_bench.timing import Step, cpu_clock, cuda_clock, time_pairs
from normzoo_suites import parse_call
from normzoo_suites.settings import ThroughputSettings

PAIRS = 31  # odd, so that the median is a sample
REFERENCE = "batch_norm"
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2}  # of outputs about 1 in size


def measure(settings: ThroughputSettings) -> Result:
    """Time the layer and batch norm in turn, after its output was held against float64.

    Raises:
        CannotRun: when the input has too few values for either of them.
        RuntimeError: when the layer's output is off; a wrong layer's speed is not published.

    """
    torch.set_num_threads(settings.threads)
    call = parse_call(settings.normalizer)
    x = _input(settings)
    layers = [
        _layer(normzoo.create(name, x.shape[1], **options), settings)
        for name, options in ((call.name, call.options), (REFERENCE, {}))
    ]
    try:
        error = error_vs_float64(layers[0], x)
        error_vs_float64(layers[1], x)  # the reference, too, must be able to run
    except TooFewValuesError as reason:
        raise CannotRun(str(reason)) from None
    if error > TOLERANCE[x.dtype]:
        raise RuntimeError(f"the output is off by {error:.2g} against float64, more than {TOLERANCE[x.dtype]:g}")
    steps = [_step(layer, x, settings.direction) for layer in layers]
    clock = cuda_clock if settings.device == "cuda" else cpu_clock
    timed = time_pairs(steps[0], steps[1], clock, PAIRS)
    ratios = timed.ratios()
    metrics = _spread("step_ms", timed.candidate) | _spread("step_ms_ratio", ratios) | {"error_vs_float64": error}
    metrics["batch_norm_step_ms"] = float(np.median(timed.reference))
    metrics["images_per_s"] = settings.batch_size / metrics["step_ms"] * 1e3
    samples = {"step_ms": timed.candidate, "batch_norm_step_ms": timed.reference}
    return Result(metrics, samples=samples, options=dict(call.options))


def layer_step(settings: ThroughputSettings) -> Step:
    """Give one step of a layer, ready to be timed by whatever timer."""
    call, x = parse_call(settings.normalizer), _input(settings)
    return _step(_layer(normzoo.create(call.name, x.shape[1], **call.options), settings), x, settings.direction)


def error_vs_float64(layer: nn.Module, x: Tensor) -> float:
    """Give the largest difference between a layer's output and that of its float64 copy."""
    state = copy.deepcopy(layer.state_dict())
    exact = copy.deepcopy(layer).double()
    with torch.no_grad():
        error = (layer(x).double() - exact(x.double())).abs().max().item()
    layer.load_state_dict(state)  # as if it had not been called
    return float(error)


def _input(settings: ThroughputSettings) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(settings.sizes(), generator=draw).to(settings.device, getattr(torch, settings.dtype))
    if settings.layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)
    return x.requires_grad_(settings.direction == "forward_backward")


def _layer(layer: nn.Module, settings: ThroughputSettings) -> nn.Module:
    # parameters stay float32 where the input is bfloat16, as under mixed precision
    dtype = torch.float64 if settings.dtype == "float64" else torch.float32
    return layer.to(settings.device, dtype).train(settings.direction != "eval")


def _step(layer: nn.Module, x: Tensor, direction: str) -> Step:
    if direction == "eval":
        return torch.inference_mode()(lambda: layer(x))
    if direction == "forward":
        return lambda: layer(x)  # the parameters want gradients, so what backward needs is saved
    gradient = torch.randn_like(x)
    wanted = [x, *layer.parameters()]
    return lambda: torch.autograd.grad(layer(x), wanted, gradient, allow_unused=True)


def _spread(name: str, values: list[float]) -> dict[str, float]:
    low, middle, high = (float(value) for value in np.percentile(values, [10, 50, 90]))
    return {name: middle, f"{name}_p10": low, f"{name}_p90": high}
