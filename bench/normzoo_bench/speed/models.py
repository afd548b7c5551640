"""The measure ``model_throughput``: the time of a model's step, paired with the same model's with batch norm."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import normzoo
from normzoo import TooFewValuesError
from normzoo_bench.result import CannotRun, Result, options_as_built
from normzoo_bench.speed import conditions, modes
from normzoo_bench.speed.figures import spread
from normzoo_bench.speed.folding import fold
from normzoo_bench.speed.gate import logits_error, require_logits
from normzoo_bench.speed.layers import REFERENCE
from normzoo_bench.speed.model_steps import images, inference_step, model_of, optimizer_of, training_step
from normzoo_bench.timing import Stopwatch, clock_of, machine, time_pairs
from normzoo_bench.timing.allocator import keep_freed_memory
from normzoo_suites import parse_call
from normzoo_suites.settings import ModelThroughputSettings


@dataclass(frozen=True)
class Timed:
    """One model, ready to be timed.

    Attributes:
        model: the model.
        step: gives the logits [N, 1000].
        error: of the first step's logits against float64.
        graph_breaks: where the compiler gave up, or None where it is not compiled.
        conditions: what held for it.

    """

    model: nn.Module
    step: Callable[[], Tensor]
    error: float
    graph_breaks: int | None
    conditions: dict[str, Any] = field(default_factory=dict)


def measure(settings: ModelThroughputSettings) -> Result:
    """Time a model's step and batch norm's in turn; what is timed was held against float64.

    Raises:
        CannotRun: when a norm has too few values, or nothing of the model can be folded.
        RuntimeError: when logits are off; a wrong model's speed is not published.

    """
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    modes.forget_compiled()
    candidate = prepared(settings.normalizer, settings)
    # folding is held against batch norm as it is in inference, which is what it saves
    plain = settings.model_copy(update={"phase": "inference"}) if settings.phase == "folded" else settings
    reference = prepared(REFERENCE, plain)
    watch = Stopwatch(clock_of(settings.device))
    before = machine.state(settings.device)
    timed = time_pairs(candidate.step, reference.step, watch)
    after = machine.state(settings.device)
    metrics = spread("model_step_ms", timed) | _counts(candidate, settings)
    metrics["model_images_per_s"] = settings.batch_size / metrics["model_step_ms"] * 1e3
    held = {
        **candidate.conditions,
        **conditions.of_switches(settings.device),
        **machine.told(before, after),
        "timed_s": round(watch.seconds, 4),
    }
    samples = {"model_step_ms": timed.candidate, "batch_norm_model_step_ms": timed.reference}
    return Result(metrics, samples=samples, options=_options(candidate.model, settings), conditions=held)


def prepared(normalizer: str, settings: ModelThroughputSettings) -> Timed:
    """Build a model and its step, and hold logits of its very forward against a float64 copy of the model.

    Raises:
        CannotRun: when a norm has too few values, or nothing can be folded.
        RuntimeError: when the logits are off.

    """
    model, batch = model_of(normalizer, settings), images(settings, settings.batch_size)
    try:
        return _prepared(normalizer, model, batch, settings)
    except TooFewValuesError as reason:
        raise CannotRun(f"{normalizer}: {reason}") from None


def _prepared(
    normalizer: str, model: nn.Module, batch: tuple[Tensor, Tensor], settings: ModelThroughputSettings
) -> Timed:
    x, held = batch[0], dict[str, Any]()
    if settings.phase != "training":
        _see_images(model, settings)
    exact = copy.deepcopy(model).double()
    if settings.phase == "folded":
        held["folded"] = _folded(normalizer, model, x)
    step = _step(model, batch, settings)
    held["held_against_float64"] = "in inference" if draws(model) else "as timed"
    error = _error_in_inference(model, exact, x, settings) if draws(model) else _error(step(), exact, x)
    require_logits(f"{settings.model} with {normalizer}", error, settings.precision, settings.device)
    breaks = modes.graph_breaks() if settings.mode == "compiled" else None
    held["norm_dtypes"] = conditions.norm_dtypes(model, _norms(normalizer), inference_step(model, x, settings))
    return Timed(model, step, error, breaks, held)


def _step(model: nn.Module, batch: tuple[Tensor, Tensor], settings: ModelThroughputSettings) -> Callable[[], Tensor]:
    forward = modes.compiled(model) if settings.mode == "compiled" else model
    if settings.phase == "training":
        step = training_step(forward, optimizer_of(model), batch, settings)
    else:
        step = inference_step(forward, batch[0], settings)
    return modes.captured(step, [model]) if settings.mode == "captured" else step


def _see_images(model: nn.Module, settings: ModelThroughputSettings) -> None:
    """Show a model some images and go to eval, with running statistics that are not those of a net that saw nothing."""
    with torch.no_grad():
        model(images(settings, batch=8, seed=1)[0])
    model.eval()


def draws(model: nn.Module) -> bool:
    """Tell whether a model draws random numbers in its mode, as dropout does: then no two precisions compute alike."""
    rates = (getattr(one, name, 0.0) for one in model.modules() for name in ("p", "drop_prob") if one.training)
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def _error(found: Tensor, exact: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        wanted = exact(x.double())
    return logits_error(found, wanted)


def _error_in_inference(model: nn.Module, exact: nn.Module, x: Tensor, settings: ModelThroughputSettings) -> float:
    try:
        return _error(inference_step(model.eval(), x, settings)(), exact.eval(), x)
    finally:
        model.train()


def _folded(normalizer: str, model: nn.Module, x: Tensor) -> str:
    def forward() -> None:
        with torch.no_grad():
            model(x[:1])

    try:
        done, of = fold(model, _norms(normalizer), forward)
    except ValueError as reason:
        raise CannotRun(str(reason)) from None
    if not done:
        raise CannotRun(f"none of the {of} norms follows a convolution or linear layer alone, so nothing can be folded")
    return f"{done} of {of}"


def _counts(timed: Timed, settings: ModelThroughputSettings) -> dict[str, float]:
    found = {"model_error_vs_float64": timed.error}
    if settings.device == "cuda":
        found["model_kernels"] = conditions.kernels(timed.step)
    if timed.graph_breaks is not None:
        found["model_graph_breaks"] = timed.graph_breaks
    return found


def _norms(normalizer: str) -> type[nn.Module]:
    return normzoo.card(parse_call(normalizer).name).factory


def _options(model: nn.Module, settings: ModelThroughputSettings) -> dict[str, Any]:
    card = normzoo.card(parse_call(settings.normalizer).name)
    return options_as_built([one for one in model.modules() if isinstance(one, card.factory)], card)
