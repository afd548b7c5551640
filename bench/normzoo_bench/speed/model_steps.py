"""A model with one normalizer, and a step of it: what is timed, weighed and spread over ranks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import normzoo
from normzoo_bench import models
from normzoo_suites import parse_call
from normzoo_suites.settings import MemorySettings, ModelThroughputSettings, SyncCostSettings

ModelSettings = ModelThroughputSettings | MemorySettings | SyncCostSettings

CLASSES = 1000
RATE = 1e-4
"""A learning rate with which a net can take thousands of steps on one batch; no time depends on it."""


def model_of(normalizer: str, settings: ModelSettings) -> nn.Module:
    """Build the model with every norm replaced, on its device and in its layout, training; weights are always the same.

    Raises:
        CannotConvertError, NormalizerOptionError, UsageError: when there is no such model.

    """
    call = parse_call(normalizer)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = models.build(settings.model, (3, settings.image_size, settings.image_size), CLASSES)
    model = normzoo.convert(model, call.name, **call.options)
    return model.to(settings.device).to(memory_format=memory_format(settings)).train()


def memory_format(settings: ModelSettings) -> torch.memory_format:
    """Give torch's name of the layout."""
    return torch.channels_last if settings.layout == "channels_last" else torch.contiguous_format


def images(settings: ModelSettings, batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw a batch [N, 3, H, W] of noise, in the layout, and its labels."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 3, settings.image_size, settings.image_size, generator=draw)
    labels = torch.randint(CLASSES, (batch,), generator=draw)
    return x.to(settings.device, memory_format=memory_format(settings)), labels.to(settings.device)


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """Give SGD with momentum, one launch for all weights where the device has that."""
    return torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, foreach=True)


def cast(settings: ModelSettings) -> AbstractContextManager[object]:
    """Give the autocast of a precision. Weights are cast anew in each step, so that a captured one casts them, too."""
    return torch.autocast(
        settings.device, dtype=torch.bfloat16, enabled=settings.precision == "bfloat16", cache_enabled=False
    )


def training_step(
    forward: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    settings: ModelSettings,
) -> Callable[[], Tensor]:
    """Give a step that goes forward and backward and moves the weights; it gives the logits [N, 1000]."""
    x, labels = batch

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with cast(settings):
            logits = forward(x)
            loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return logits.detach()

    return step


def inference_step(forward: Callable[[Tensor], Tensor], x: Tensor, settings: ModelSettings) -> Callable[[], Tensor]:
    """Give a step that goes forward only; it gives the logits [N, 1000]."""

    @torch.inference_mode()
    def step() -> Tensor:
        with cast(settings):
            return forward(x)

    return step
