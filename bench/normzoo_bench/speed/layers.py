"""The measure ``throughput``: the time of one layer, paired with batch norm's in one process."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import normzoo
from normzoo import TooFewValuesError
from normzoo_bench.result import CannotRun, Result, options_as_built
from normzoo_bench.speed import conditions, modes
from normzoo_bench.speed.figures import spread
from normzoo_bench.speed.gate import drawn, incoming, largest_error, moved, once_passed, renew, require
from normzoo_bench.speed.limit import copy_bytes_per_ms, fewest_passes
from normzoo_bench.speed.saved import saved_bytes
from normzoo_bench.timing import Clock, Emptier, clock_of, cold, watched_pairs
from normzoo_bench.timing.allocator import keep_freed_memory
from normzoo_bench.timing.pairs import SAMPLE_MS
from normzoo_suites import parse_call
from normzoo_suites.settings import ThroughputSettings

REFERENCE = "batch_norm"
_ANY = {"normalizer": REFERENCE, "repeat": 0}
_SAMPLE_MS = {"hot": SAMPLE_MS, "cold": 0.0}  # what is cold is cold once


@dataclass(frozen=True)
class Timed:
    """One layer, ready to be timed.

    Attributes:
        name: the normalizer's.
        layer: the layer.
        fresh: a copy of it that was never called.
        forward: the layer as it is called: compiled, where it is.
        step: gives the output, and where there is a backward pass the gradients of input and parameters.
        first: the first step's output.

    """

    name: str
    layer: nn.Module
    fresh: nn.Module
    forward: Callable[[Tensor], Tensor]
    step: Callable[[], list[Tensor]]
    first: Tensor

    def error(self, x: Tensor, gradient: Tensor | None) -> float:
        """Hold one more step against float64; raises RuntimeError where its error is too large.

        What is held against has the statistics that the steps before have left, and nothing else of theirs.
        """
        self.fresh.load_state_dict(self.layer.state_dict())
        exact = copy.deepcopy(self.fresh).double()
        found = self.step()
        doubled = x.detach().double().requires_grad_(x.requires_grad)
        incoming_doubled = None if gradient is None else gradient.double()
        wanted = layer_step(exact, list(exact.parameters()), doubled, incoming_doubled)()
        return require(self.name, largest_error(found, wanted), x.dtype)


def measure(settings: ThroughputSettings) -> Result:
    """Time the layer and batch norm in turn; right afterwards the very steps are held against float64, on other input.

    Raises:
        CannotRun: when the input has too few values for either of them.
        RuntimeError: when results are off; a wrong layer's speed is not published.

    """
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    modes.forget_compiled()
    call, x = parse_call(settings.normalizer), _input(settings)
    # both share input and gradient: where a block lies in memory can cost more than what is compared
    gradient = incoming(x) if settings.direction == "forward_backward" else None
    with torch.inference_mode(settings.direction == "eval"):
        candidate = prepared(call.name, call.options, x, gradient, settings)
        reference = prepared(REFERENCE, {}, x, gradient, settings)
        kept, compiled = x.detach().clone(), modes.compilations()
        breaks = modes.graph_breaks() if settings.mode == "compiled" else None
        timed, machine = watched_pairs(
            candidate.step, reference.step, _clock(settings), settings.device, _SAMPLE_MS[settings.cache]
        )
        modes.require_compiled_once(call.name, compiled)
        conditions.require_as_set(settings.threads)
        renew(call.name, x, kept)
        error = candidate.error(x, gradient)
        once_passed(("a layer", settings.model_copy(update=_ANY)), lambda: reference.error(x, gradient))
    metrics = spread("step_ms", timed)
    metrics |= {
        "error_vs_float64": error,
        "images_per_s": settings.batch_size / metrics["step_ms"] * 1e3,
        **_against_the_limit(settings, x, metrics["step_ms"]),
        **_counts(settings, candidate, x, breaks),
    }
    samples = {"step_ms": timed.candidate, "batch_norm_step_ms": timed.reference}
    held = {
        **conditions.of_output(candidate.first),
        "batch_norm_backend": conditions.batch_norm_backend(x, settings.direction != "eval"),
        **conditions.of_switches(settings.device),
        **machine,
    }
    built = options_as_built([candidate.layer], normzoo.card(call.name))
    return Result(metrics, samples=samples, options=built, conditions=held)


def prepared(
    name: str, options: Mapping[str, Any], x: Tensor, gradient: Tensor | None, settings: ThroughputSettings
) -> Timed:
    """Build a layer and its step, and take the first one.

    Weight and bias are drawn at random, so that nothing is right by chance; no time depends on them.

    Raises:
        CannotRun: when the input has too few values for it.

    """
    layer = drawn(_layer(name, options, x, settings))
    fresh = copy.deepcopy(layer)
    forward = modes.compiled(layer) if settings.mode == "compiled" else layer
    step = layer_step(forward, list(layer.parameters()), x, gradient)
    try:
        if settings.mode == "captured":
            step = modes.captured(step, [layer])
        first = step()[0].clone()
    except TooFewValuesError as reason:
        raise CannotRun(str(reason)) from None
    return Timed(name, layer, fresh, forward, step, first)


def layer_step(
    forward: Callable[[Tensor], Tensor], parameters: list[nn.Parameter], x: Tensor, gradient: Tensor | None
) -> Callable[[], list[Tensor]]:
    """Give a step of a layer: its output and, where a gradient comes in, the gradients of input and parameters."""
    if gradient is None:
        return lambda: [forward(x)]
    wanted = [x, *parameters]

    def step() -> list[Tensor]:
        y = forward(x)
        found = torch.autograd.grad(y, wanted, gradient, allow_unused=True)
        return [y, *(one for one in found if one is not None)]

    return step


def _clock(settings: ThroughputSettings) -> Clock:
    clock = clock_of(settings.device)
    return cold(clock, Emptier(settings.device)) if settings.cache == "cold" else clock


def _against_the_limit(settings: ThroughputSettings, x: Tensor, ms: float) -> dict[str, float]:
    card = normzoo.card(parse_call(settings.normalizer).name)
    fewest = fewest_passes(card, settings.direction) * x.nbytes
    bandwidth = copy_bytes_per_ms(settings.device, settings.threads)
    return {
        "fewest_mb": fewest / 1e6,
        "copy_gb_per_s": bandwidth / 1e6,
        "share_of_limit": fewest / ms / bandwidth,
    }


def _counts(settings: ThroughputSettings, timed: Timed, x: Tensor, graph_breaks: int | None) -> dict[str, float]:
    """Count what is kept for backward (in inputs), kernels on a GPU, and graph breaks of what is compiled."""
    found: dict[str, float] = {}
    if settings.direction != "eval" and settings.mode != "captured":
        found["saved_t"] = saved_bytes(lambda: timed.forward(x), timed.layer) / x.nbytes
    if settings.device == "cuda":
        found["kernels"] = conditions.kernels(timed.step)
    if graph_breaks is not None:
        found["graph_breaks"] = graph_breaks
    return found


def _input(settings: ThroughputSettings) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    x = moved(torch.randn(settings.sizes(), generator=draw)).to(settings.device, getattr(torch, settings.dtype))
    if settings.layout == "channels_last":
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    # inside a model the input wants a gradient in training, and more is saved then
    return x.requires_grad_(settings.direction != "eval")


def _layer(name: str, options: Mapping[str, Any], x: Tensor, settings: ThroughputSettings) -> nn.Module:
    # parameters are float32 where the input is bfloat16
    dtype = torch.float64 if settings.dtype == "float64" else torch.float32
    layer = normzoo.create(name, x.shape[1], **options)
    return layer.to(settings.device, dtype).train(settings.direction != "eval")
