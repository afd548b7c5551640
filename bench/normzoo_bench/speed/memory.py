"""The measure ``memory``: what a step of a model needs above the model, and the largest batch that fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import normzoo
from normzoo import TooFewValuesError
from normzoo_bench.result import CannotRun, Result, options_as_built
from normzoo_bench.running.worker import memory_asked, out_of_memory
from normzoo_bench.speed import conditions, modes
from normzoo_bench.speed.largest import largest_that_fits
from normzoo_bench.speed.model_steps import cast, images, inference_step, model_of, optimizer_of, training_step
from normzoo_bench.speed.peaks import MIB, free, peak_of
from normzoo_bench.speed.saved import saved_bytes
from normzoo_suites import parse_call
from normzoo_suites.settings import MemorySettings


@dataclass(frozen=True)
class Weighed:
    """What one step of one batch was found to need, in MiB.

    Attributes:
        model: weights and buffers, the optimizer's state, images and labels: what is there before the step.
        peak: the most that was there at once during the step, above ``model``; gradients belong to the step.
        saved: what the forward pass keeps for backward; None where there is none.
        options: the normalizer's, as it was built.
        conditions: what held for it.

    """

    model: float
    peak: float
    saved: float | None
    options: dict[str, Any]
    conditions: dict[str, Any]

    @property
    def total(self) -> float:
        """What has to fit, in MiB."""
        return self.model + self.peak

    def metrics(self) -> dict[str, float]:
        """Give the numbers of a record."""
        found = {"peak_mib": self.peak, "model_mib": self.model}
        return found if self.saved is None else found | {"saved_mib": self.saved}


def measure(settings: MemorySettings) -> Result:
    """Weigh a step of the batch, or of the largest batch that fits.

    Raises:
        CannotRun: when the batch has too few values for the normalizer.
        torch.OutOfMemoryError: when it does not fit, or, where the largest batch is looked for, not even one image.

    """
    torch.set_num_threads(settings.threads)
    found: dict[str, float] = {}
    searched: dict[str, Any] = {}
    if settings.find == "peak":
        weighed = weigh(settings, settings.batch_size)
    else:
        largest, weighed, searched = _largest(settings)
        found["largest_batch"] = largest
    held = {**weighed.conditions, **conditions.of_switches(settings.device), **searched}
    return Result(weighed.metrics() | found, options=weighed.options, conditions=held)


def weigh(settings: MemorySettings, batch: int) -> Weighed:
    """Build model, optimizer and images anew, and weigh one step that another one went before.

    The step before leaves behind what stays: momentum, workspaces, compiled code. Its gradients are freed.

    Raises:
        CannotRun: when the batch has too few values for the normalizer.
        torch.OutOfMemoryError, RuntimeError: when it does not fit.

    """
    modes.forget_compiled()
    free(settings.device)
    loaded = _load(settings, batch)
    try:
        loaded.step()
    except TooFewValuesError as reason:
        raise CannotRun(str(reason)) from None
    loaded.model.zero_grad(set_to_none=True)
    peak = peak_of(loaded.step, settings.device)
    loaded.model.zero_grad(set_to_none=True)
    parts = loaded.parts()
    saved = _saved(loaded, settings) if settings.phase == "training" else None
    card = normzoo.card(parse_call(settings.normalizer).name)
    held = {**parts, **peak.conditions}
    if settings.mode == "eager":  # compiled, layers do not run one by one
        step = inference_step(loaded.model, loaded.x, settings)
        held["norm_dtypes"] = conditions.norm_dtypes(loaded.model, card.factory, step)
    norms = [layer for layer in loaded.model.modules() if isinstance(layer, card.factory)]
    return Weighed(sum(parts.values()), peak.above / MIB, saved, options_as_built(norms, card), held)


@dataclass(frozen=True)
class _Loaded:
    """What is there before a step, and the step; ``forward`` is the model as its mode has it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer | None
    x: Tensor
    labels: Tensor
    forward: Callable[[Tensor], Tensor]
    step: Callable[[], Tensor]

    def parts(self) -> dict[str, float]:
        """Give the MiB of what is there before a step, by name."""
        states = self.optimizer.state.values() if self.optimizer else ()
        return {
            "weights_and_buffers_mib": _mib([*self.model.parameters(), *self.model.buffers()]),
            "optimizer_mib": _mib(one for state in states for one in state.values() if isinstance(one, Tensor)),
            "images_mib": _mib([self.x, self.labels]),
        }


def _load(settings: MemorySettings, batch: int) -> _Loaded:
    model = model_of(settings.normalizer, settings).train(settings.phase == "training")
    x, labels = images(settings, batch)
    forward = modes.compiled(model) if settings.mode == "compiled" else model
    if settings.phase == "inference":
        return _Loaded(model, None, x, labels, forward, inference_step(forward, x, settings))
    optimizer = optimizer_of(model)
    step = training_step(forward, optimizer, (x, labels), settings)
    return _Loaded(model, optimizer, x, labels, forward, step)


def _saved(loaded: _Loaded, settings: MemorySettings) -> float:
    """Give the MiB that the forward pass, compiled where the step is, keeps for backward; images are among it."""

    def forward() -> Tensor:
        with cast(settings):
            return loaded.forward(loaded.x)

    if settings.device == "cuda":
        torch.cuda.empty_cache()  # the step has left its blocks in pieces, and the largest batch needs them whole
    return saved_bytes(forward, loaded.model) / MIB


def _largest(settings: MemorySettings) -> tuple[int, Weighed, dict[str, Any]]:
    """Look for the largest batch that fits; give it, what it needs, and which batches were tried.

    Raises:
        CannotRun: when the first batch has too few values for the normalizer.
        torch.OutOfMemoryError: when not even one image fits.

    """
    tried: dict[str, dict[str, Any]] = {}
    fitted: dict[int, Weighed] = {}

    def fits(batch: int) -> bool:
        found = _attempt(settings, batch)
        if isinstance(found, Weighed):
            fitted[batch] = found
            tried[str(batch)] = {"fits": True, "mib": found.total}
        else:
            tried[str(batch)] = {"fits": False, "reason": found}
        return batch in fitted

    largest = largest_that_fits(settings.batch_size, fits)
    if not largest:
        smallest = min((one for one in tried if not tried[one]["reason"].startswith(_CANNOT)), key=int)
        raise torch.OutOfMemoryError(f"a batch of {smallest} does not fit: {tried[smallest]['reason']}")
    how = "doubled or halved, then bisected, which takes it that memory grows with the batch"
    return largest, fitted[largest], {"search": how, "tried": tried}


_CANNOT = "it cannot run"


def _attempt(settings: MemorySettings, batch: int) -> Weighed | str:
    """Weigh a batch; give what it needs, or why it does not fit."""
    try:
        found = weigh(settings, batch)
    except CannotRun as reason:
        if batch == settings.batch_size:
            raise
        return f"{_CANNOT}: {reason}"
    except Exception as error:  # allocators and compilers raise theirs by many classes; only those of memory are kept
        if not out_of_memory(error):
            raise
        # as text: the error itself would keep alive what the frames in its traceback hold
        return memory_asked(error)
    if settings.limit_mib and found.total > settings.limit_mib:
        return f"it needs {found.total:.1f} MiB, and limit_mib is {settings.limit_mib}"
    return found


def _mib(tensors: Iterable[Tensor]) -> float:
    """Give the MiB of tensors; those that share their storage count once."""
    storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}
    return sum(storages.values()) / MIB
