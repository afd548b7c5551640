"""The measure ``model_throughput``: the time of a model's step, paired with the same model's with batch norm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd

import normzoo
from normzoo import TooFewValuesError
from normzoo_bench.result import CannotRun, Result, options_as_built
from normzoo_bench.speed import conditions, modes
from normzoo_bench.speed.figures import spread
from normzoo_bench.speed.folding import fold
from normzoo_bench.speed.gate import logits_error, once_passed, require_gradients, require_logits
from normzoo_bench.speed.layers import REFERENCE
from normzoo_bench.speed.model_steps import images, inference_step, model_of, optimizer_of, training_step
from normzoo_bench.timing import clock_of, watched_pairs
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
        batch: images and labels that its step reads.
        step: gives the logits [N, 1000].
        folded: how many of its norms were folded, in words, or empty.

    """

    name: str
    model: nn.Module
    batch: tuple[Tensor, Tensor]
    step: Callable[[], Tensor]
    folded: str


def measure(settings: ModelThroughputSettings) -> Result:
    """Time a model's step and batch norm's in turn; right afterwards a step is held against float64, on other images.

    Raises:
        CannotRun: when a norm has too few values, or nothing of the model can be folded.
        RuntimeError: when logits or gradients are off; a wrong model's speed is not published.

    """
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    modes.forget_compiled()
    candidate = prepared(settings.normalizer, settings)
    # folding is held against batch norm as it is in inference, which is what it saves
    plain = settings.model_copy(update={"phase": "inference"}) if settings.phase == "folded" else settings
    reference = prepared(REFERENCE, plain)
    compiled, breaks = modes.compilations(), modes.graph_breaks() if settings.mode == "compiled" else None
    timed, machine = watched_pairs(candidate.step, reference.step, clock_of(settings.device), settings.device)
    modes.require_compiled_once(f"{settings.model} with {settings.normalizer}", compiled)
    conditions.require_as_set(settings.threads)
    error = held(candidate, settings)
    once_passed(("a model", plain.model_copy(update=_ANY)), lambda: held(reference, plain))
    metrics = spread("model_step_ms", timed) | _counts(candidate, error, breaks, settings)
    metrics["model_images_per_s"] = settings.batch_size / metrics["model_step_ms"] * 1e3
    told = {
        **({"folded": candidate.folded} if candidate.folded else {}),
        "held_against_float64": "in inference" if draws(candidate.model) else "as timed",
        "norm_dtypes": conditions.norm_dtypes(
            candidate.model, _norms(settings.normalizer), inference_step(candidate.model, candidate.batch[0], settings)
        ),
        **conditions.of_switches(settings.device),
        **machine,
    }
    samples = {"model_step_ms": timed.candidate, "batch_norm_model_step_ms": timed.reference}
    return Result(metrics, samples=samples, options=_options(candidate.model, settings), conditions=told)


def prepared(normalizer: str, settings: ModelThroughputSettings) -> Timed:
    """Build a model and its step, and take the first one.

    Raises:
        CannotRun: when a norm has too few values, or nothing can be folded.

    """
    model, batch = _built(normalizer, settings), images(settings, settings.batch_size)
    try:
        folded = _folded(normalizer, model, batch[0]) if settings.phase == "folded" else ""
        step = _step(model, batch, settings)
        step()
    except TooFewValuesError as reason:
        raise CannotRun(f"{normalizer}: {reason}") from None
    return Timed(normalizer, model, batch, step, folded)


def held(timed: Timed, settings: ModelThroughputSettings) -> float:
    """Hold one more step, on other images, against a float64 copy of the model; give the error of the logits.

    In training the gradients of all weights are held, too. A model that draws then (dropout) is held in inference.

    Raises:
        RuntimeError: when logits or gradients are off.

    """
    x, labels = timed.batch
    x.copy_(images(settings, settings.batch_size, seed=2)[0])
    training = settings.phase == "training"
    exact = _built(timed.name, settings)
    if training:  # in inference nothing has moved; in training weights and statistics have, and nothing else should
        exact.load_state_dict(timed.model.state_dict())
    exact = exact.double()
    whose = f"{settings.model} with {timed.name}"
    if draws(timed.model):
        found, wanted = _in_inference(timed.model, x, settings), exact.eval()(x.double()).detach()
    else:
        found, wanted = timed.step(), exact(x.double())
    error = logits_error(found, wanted.detach())
    require_logits(whose, error, settings.precision, settings.device)
    if wanted.requires_grad and training:
        exact.zero_grad()
        F.cross_entropy(wanted, labels).backward()
        off = logits_error(*_gradients(timed.model, exact))
        require_gradients(whose, off, settings.precision, settings.device)
    return error


def _gradients(model: nn.Module, exact: nn.Module) -> tuple[Tensor, Tensor]:
    """Give the gradients of all weights in a row, the model's and the exact ones; of what has none, zeros."""

    def row(one: nn.Module) -> Tensor:
        every = (p.grad if p.grad is not None else torch.zeros_like(p) for p in one.parameters() if p.requires_grad)
        return torch.cat([gradient.detach().double().flatten() for gradient in every])

    return row(model), row(exact)


def _built(normalizer: str, settings: ModelThroughputSettings) -> nn.Module:
    """Build the model in its phase; for inference it has seen some images, and has statistics of them."""
    model = model_of(normalizer, settings)
    if settings.phase != "training":
        with torch.no_grad():
            model(images(settings, batch=8, seed=1)[0])
        model.eval()
    return model


def _step(model: nn.Module, batch: tuple[Tensor, Tensor], settings: ModelThroughputSettings) -> Callable[[], Tensor]:
    forward = modes.compiled(model) if settings.mode == "compiled" else model
    if settings.phase == "training":
        step = training_step(forward, optimizer_of(model), batch, settings)
    else:
        step = inference_step(forward, batch[0], settings)
    return modes.captured(step, [model]) if settings.mode == "captured" else step


def draws(model: nn.Module) -> bool:
    """Tell whether a model draws random numbers in its mode: then no two precisions compute alike."""
    drops = (one for one in model.modules() if one.training)
    return any((isinstance(one, _DropoutNd) and one.p > 0) or bool(getattr(one, "drop_prob", None)) for one in drops)


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


def _counts(
    timed: Timed, error: float, graph_breaks: int | None, settings: ModelThroughputSettings
) -> dict[str, float]:
    found = {"model_error_vs_float64": error}
    if settings.device == "cuda":
        found["model_kernels"] = conditions.kernels(timed.step)
    if graph_breaks is not None:
        found["model_graph_breaks"] = graph_breaks
    return found


def _norms(normalizer: str) -> type[nn.Module]:
    return normzoo.card(parse_call(normalizer).name).factory


def _options(model: nn.Module, settings: ModelThroughputSettings) -> dict[str, Any]:
    card = normzoo.card(parse_call(settings.normalizer).name)
    return options_as_built([one for one in model.modules() if isinstance(one, card.factory)], card)
