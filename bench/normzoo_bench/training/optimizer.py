"""Optimizers and learning-rate schedules, timm's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from normzoo_suites.settings import AccuracySettings

MOMENTUM = 0.9  # of SGD, Nesterov's


def optimizer(model: nn.Module, settings: AccuracySettings) -> torch.optim.Optimizer:
    """Make the optimizer. Norms, biases, and what the model itself excepts, go without weight decay.

    On CUDA it is one that a graph can hold: fused, its rate a tensor that ``rates`` are written to.
    """
    from timm import optim  # seconds to import

    on_cuda = settings.device == "cuda"
    options: dict[str, Any] = {"fused": True} if on_cuda else {}
    if on_cuda and settings.optimizer == "adamw":
        options["capturable"] = True
    make: Callable[..., torch.optim.Optimizer] = optim.create_optimizer_v2  # type: ignore[attr-defined]  # no __all__
    made = make(model, settings.optimizer, settings.rate(), settings.weight_decay, momentum=MOMENTUM, **options)
    if on_cuda:
        rate = torch.tensor(settings.rate(), device="cuda")
        for group in made.param_groups:
            group["lr"] = rate
    return made


def rates(settings: AccuracySettings, steps: int) -> list[float]:
    """Give the learning rate of each of a run's steps, ``steps`` per epoch."""
    from timm import scheduler

    parameter = nn.Parameter(torch.zeros(()))
    plain = torch.optim.SGD([parameter], settings.rate())
    whole, warm = settings.epochs * steps, settings.warmup_epochs * steps
    schedule = scheduler.CosineLRScheduler(  # type: ignore[attr-defined]  # no __all__
        plain,
        t_initial=whole - warm,
        lr_min=settings.rate() if settings.schedule == "constant" else 0.0,
        warmup_t=warm,
        warmup_prefix=True,
        t_in_epochs=False,
    )
    curve = []
    for step in range(whole):
        # the first step of a warm-up would have rate 0 and move nothing, so each step has the rate of its end
        schedule.step_update(step + 1 if step < warm else step)
        curve.append(float(plain.param_groups[0]["lr"]))
    return curve
