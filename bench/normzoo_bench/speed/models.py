"""The measure ``model_throughput``: the time of a model's step, paired with the same model's with batch norm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import normzoo
from normzoo import TooFewValuesError
from normzoo_bench.result import CannotRun, Result, options_as_built
from normzoo_bench.speed import conditions, modes
from normzoo_bench.speed.figures import spread
from normzoo_bench.speed.folding import fold
from normzoo_bench.speed.gate import logits_error, once_passed, require_logits
from normzoo_bench.speed.layers import REFERENCE
from normzoo_bench.speed.model_steps import images, inference_step, model_of, optimizer_of, training_step
from normzoo_bench.timing import Stopwatch, clock_of, machine, time_pairs
from normzoo_bench.timing.allocator import keep_freed_memory
from normzoo_suites import parse_call
from normzoo_suites.settings import ModelThroughputSettings

_ANY = {"normalizer": REFERENCE, "repeat": 0}


@dataclass(frozen=True)
class Timed:
    """One model, ready to be timed.

    Attributes:
        name: the normalizer's.
        model: the model.
        step: gives the logits [N, 1000].
        error: gives the error of the first step's logits against float64, or raises RuntimeError where it is too large.
        graph_breaks: where the compiler gave up, or None where it is not compiled.
        conditions: what held for it.

    """

    name: str
    model: nn.Module
    step: Callable[[], Tensor]
    error: Callable[[], float]
    graph_breaks: int | None
    conditions: dict[str, Any]


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
    error = candidate.error()
    once_passed(("a model", plain.model_copy(update=_ANY)), reference.error)
    dtypes = conditions.norm_dtypes(candidate.model, _norms(settings.normalizer), _eager(candidate.model, settings))
    watch = Stopwatch(clock_of(settings.device))
    before = machine.state(settings.device)
    timed = time_pairs(candidate.step, reference.step, watch)
    after = machine.state(settings.device)
    metrics = spread("model_step_ms", timed) | _counts(candidate, error, settings)
    metrics["model_images_per_s"] = settings.batch_size / metrics["model_step_ms"] * 1e3
    held = {
        **candidate.conditions,
        "norm_dtypes": dtypes,
        **conditions.of_switches(settings.device),
        **machine.told(before, after),
        "timed_s": round(watch.seconds, 4),
    }
    samples = {"model_step_ms": timed.candidate, "batch_norm_model_step_ms": timed.reference}
    return Result(metrics, samples=samples, options=_options(candidate.model, settings), conditions=held)


def prepared(normalizer: str, settings: ModelThroughputSettings) -> Timed:
    """Build a model and its step, and take the first one.

    Raises:
        CannotRun: when a norm has too few values, or nothing can be folded.

    """
    model, batch = _built(normalizer, settings), images(settings, settings.batch_size)
    told: dict[str, Any] = {"held_against_float64": "in inference" if draws(model) else "as timed"}
    try:
        if settings.phase == "folded":
            told["folded"] = _folded(normalizer, model, batch[0])
        in_inference = _in_inference(model, batch[0], settings) if draws(model) else None
        step = _step(model, batch, settings)
        first = step()
    except TooFewValuesError as reason:
        raise CannotRun(f"{normalizer}: {reason}") from None
    breaks = modes.graph_breaks() if settings.mode == "compiled" else None

    def error() -> float:
        exact = _built(normalizer, settings).double()
        exact.train(exact.training and in_inference is None)
        with torch.no_grad():
            wanted = exact(batch[0].double())
        found = logits_error(first if in_inference is None else in_inference, wanted)
        require_logits(f"{settings.model} with {normalizer}", found, settings.precision, settings.device)
        return found

    return Timed(normalizer, model, step, error, breaks, told)


def _built(normalizer: str, settings: ModelThroughputSettings) -> nn.Module:
    """Build the model in its phase; for inference it has seen some images, and has statistics of them."""
    model = model_of(normalizer, settings)
    if settings.phase != "training":
        with torch.no_grad():
            model(images(settings, batch=8, seed=1)[0])
        model.eval()
    return model


def _eager(model: nn.Module, settings: ModelThroughputSettings) -> Callable[[], Tensor]:
    return inference_step(model, images(settings, settings.batch_size)[0], settings)


def _step(model: nn.Module, batch: tuple[Tensor, Tensor], settings: ModelThroughputSettings) -> Callable[[], Tensor]:
    forward = modes.compiled(model) if settings.mode == "compiled" else model
    if settings.phase == "training":
        step = training_step(forward, optimizer_of(model), batch, settings)
    else:
        step = inference_step(forward, batch[0], settings)
    return modes.captured(step, [model]) if settings.mode == "captured" else step


def draws(model: nn.Module) -> bool:
    """Tell whether a model draws random numbers in its mode, as dropout does: then no two precisions compute alike."""
    rates = (getattr(one, name, 0.0) for one in model.modules() for name in ("p", "drop_prob") if one.training)
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def _in_inference(model: nn.Module, x: Tensor, settings: ModelThroughputSettings) -> Tensor:
    try:
        return inference_step(model.eval(), x, settings)().clone()
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


def _counts(timed: Timed, error: float, settings: ModelThroughputSettings) -> dict[str, float]:
    found = {"model_error_vs_float64": error}
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
