"""The measure ``throughput``: the time of one layer, paired with batch norm's in one process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import normzoo
from normzoo import TooFewValuesError
from normzoo_bench.gate import TOLERANCE, error_vs_float64
from normzoo_bench.result import CannotRun, Result, options_as_built
from normzoo_bench.timing import Step, cpu_clock, cuda_clock, time_pairs
from normzoo_suites import parse_call
from normzoo_suites.settings import ThroughputSettings

PAIRS = 31  # odd, so that the median is a sample
REFERENCE = "batch_norm"


def measure(settings: ThroughputSettings) -> Result:
    """Time the layer and batch norm in turn, after it was held against float64.

    Raises:
        CannotRun: when the input has too few values for either of them.
        RuntimeError: when the layer's results are off; a wrong layer's speed is not published.

    """
    torch.set_num_threads(settings.threads)
    call, x = parse_call(settings.normalizer), _input(settings)
    layer = _layer(call.name, call.options, x, settings)
    reference = _layer(REFERENCE, {}, x, settings)
    error, _ = (_checked(name, one, x, settings) for name, one in ((call.name, layer), (REFERENCE, reference)))
    clock = cuda_clock if settings.device == "cuda" else cpu_clock
    with torch.inference_mode(settings.direction == "eval"):
        candidate, other = (_step(one, x, settings.direction) for one in (layer, reference))
        timed = time_pairs(candidate, other, clock, PAIRS)
    metrics = _spread("step_ms", timed.candidate) | _spread("step_ms_ratio", timed.ratios())
    metrics |= {
        "error_vs_float64": error,
        "batch_norm_step_ms": float(np.median(timed.reference)),
        "images_per_s": settings.batch_size / metrics["step_ms"] * 1e3,
    }
    samples = {"step_ms": timed.candidate, "batch_norm_step_ms": timed.reference}
    return Result(metrics, samples=samples, options=options_as_built([layer], normzoo.card(call.name)))


def _checked(name: str, layer: nn.Module, x: Tensor, settings: ThroughputSettings) -> float:
    """Give a layer's error against float64; what is divided by must be as right as what is timed."""
    try:
        error = error_vs_float64(layer, x, settings.direction == "forward_backward")
    except TooFewValuesError as reason:
        raise CannotRun(str(reason)) from None
    if not error <= TOLERANCE[x.dtype]:
        raise RuntimeError(
            f"the results of {name} are off by {error:.2g} against float64, more than {TOLERANCE[x.dtype]:g}"
        )
    return error


def layer_step(settings: ThroughputSettings) -> Step:
    """Give one step of a layer, ready to be timed by whatever timer."""
    call, x = parse_call(settings.normalizer), _input(settings)
    return _step(_layer(call.name, call.options, x, settings), x, settings.direction)


def _input(settings: ThroughputSettings) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(settings.sizes(), generator=draw).to(settings.device, getattr(torch, settings.dtype))
    if settings.layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)
    # inside a model the input wants a gradient in training, and more is saved then
    return x.requires_grad_(settings.direction != "eval")


def _layer(name: str, options: Mapping[str, Any], x: Tensor, settings: ThroughputSettings) -> nn.Module:
    # parameters are float32 where the input is bfloat16
    dtype = torch.float64 if settings.dtype == "float64" else torch.float32
    layer = normzoo.create(name, x.shape[1], **options)
    return layer.to(settings.device, dtype).train(settings.direction != "eval")


def _step(layer: nn.Module, x: Tensor, direction: str) -> Step:
    if direction != "forward_backward":
        return lambda: layer(x)
    gradient = torch.randn_like(x)
    wanted = [x, *layer.parameters()]
    return lambda: torch.autograd.grad(layer(x), wanted, gradient, allow_unused=True)


def _spread(name: str, values: list[float]) -> dict[str, float]:
    low, middle, high = (float(value) for value in np.percentile(values, [10, 50, 90]))
    return {name: middle, f"{name}_p10": low, f"{name}_p90": high}
