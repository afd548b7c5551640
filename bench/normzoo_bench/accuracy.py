"""The measure ``accuracy``: train one model under one seed, and read its test accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import normzoo
from normzoo_bench import models, splits
from normzoo_bench.data import DataSet, Images
from normzoo_bench.ranks import VirtualRanks, virtualize
from normzoo_bench.result import Diverged, Result
from normzoo_bench.seeds import torch_seed
from normzoo_suites import parse_call
from normzoo_suites.settings import AccuracySettings

MOMENTUM = 0.9  # of SGD, Nesterov's
EVAL_BATCH = 1000  # only a matter of memory: eval ignores batch-mates


def measure(settings: AccuracySettings, data: DataSet) -> Result:
    """Train and test; every random draw follows from the seed alone.

    Raises:
        Diverged: when an epoch's mean loss is not finite.

    """
    train, test = (Part.on(part, settings.device) for part in data.parts(settings.seed, settings.train_samples))
    train, test = _standardized(train, test)
    steps = len(train.labels) // settings.batch_size * settings.epochs
    model, options = build(settings, data, steps)
    layers = virtualize(model, normzoo.card(parse_call(settings.normalizer).name), settings.ranks, settings.buffers)
    known = {"chance_accuracy": 1 / data.classes, "local_batch": settings.batch_size / settings.ranks}
    try:
        series = fit(model, train, settings)
    except Diverged as error:
        raise Diverged(str(error), Result(known, error.result.series, options=options)) from None
    metrics = known | {"train_accuracy": series["train_accuracy"][-1]} | _readings(model, layers, test, settings)
    return Result(metrics, series, options=options)


@dataclass(frozen=True)
class Part:
    """Images as the model takes them: ``images`` is float32 [n, C, H, W], ``labels`` int64 [n], on the device."""

    images: Tensor
    labels: Tensor

    @classmethod
    def on(cls, part: Images, device: str) -> Part:
        """Move a part to the device, as float32 in 0…1."""
        return cls(part.images.to(device).float().div_(255), part.labels.to(device))


def _standardized(train: Part, test: Part) -> tuple[Part, Part]:
    """Give both parts mean 0 and deviation 1 per channel, by the training part's statistics."""
    deviation, mean = torch.std_mean(train.images, (0, 2, 3), keepdim=True)
    return (
        Part((train.images - mean) / deviation.clamp(min=1e-6), train.labels),
        Part((test.images - mean) / deviation.clamp(min=1e-6), test.labels),
    )


def build(settings: AccuracySettings, data: DataSet, steps: int) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model with its normalizer; give it with the normalizer's options.

    Weights are drawn before the conversion, so that under one seed they are the same for every normalizer. What the
    normalizer wants to know of the run (batch renorm: its ramp) it says itself, in ``run_options``; options that the
    setting names win.
    """
    call = parse_call(settings.normalizer)
    run_options = getattr(normzoo.card(call.name).factory, "run_options", None)
    options = (run_options(steps) if run_options else {}) | dict(call.options)
    torch.manual_seed(torch_seed(settings.seed, "weights"))
    model = models.build(settings.model, data.shape, data.classes)
    model = normzoo.convert(model, call.name, **options)
    torch.manual_seed(torch_seed(settings.seed, "training"))
    return model.to(settings.device), options


def fit(model: nn.Module, train: Part, settings: AccuracySettings) -> dict[str, list[float]]:
    """Train by SGD with Nesterov momentum and a cosine from the learning rate to 0; give the series by epoch."""
    epoch_order = splits.epochs(settings, train.labels.cpu().numpy())
    steps = len(train.labels) // settings.batch_size
    optimizer, schedule = _optimizer(model, settings, steps * settings.epochs)
    series: dict[str, list[float]] = {"train_loss": [], "train_accuracy": []}
    model.train()
    for number in range(settings.epochs):
        order = torch.from_numpy(epoch_order(number)).to(settings.device)
        loss_sum, hits = torch.zeros((), device=settings.device), torch.zeros((), device=settings.device)
        for images, labels in _batches(train, order):
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.detach()
            hits += (logits.detach().argmax(1) == labels).sum()
        # the epoch's first wait for the device
        series["train_loss"].append(loss_sum.item() / steps)
        series["train_accuracy"].append(hits.item() / order.numel())
        if not math.isfinite(series["train_loss"][-1]):
            finite = {name: [value for value in values if math.isfinite(value)] for name, values in series.items()}
            raise Diverged(f"the loss was not finite in epoch {number + 1} of {settings.epochs}", Result({}, finite))
    return series


def _optimizer(
    model: nn.Module, settings: AccuracySettings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    weights = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    # weight decay is for weights; norms and biases go without, as timm does it
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, settings.rate(), momentum=MOMENTUM, nesterov=True)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _batches(train: Part, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for index in order:
        yield train.images[index], train.labels[index]


def _readings(model: nn.Module, layers: list[VirtualRanks], test: Part, settings: AccuracySettings) -> dict[str, float]:
    """Test the one trained model, with each reading of the running statistics that it allows."""
    metrics = {}
    # one training gives the mean reading too, wherever it was not the statistics that the training itself used
    if layers and not layers[0].tied and settings.buffers == "rank0":
        for layer in layers:
            layer.read("mean")
        metrics["test_accuracy_mean_buffers"] = _test(model, test)["test_accuracy"]
    for layer in layers:
        layer.read(settings.buffers)
    return _test(model, test) | metrics


@torch.inference_mode()
def _test(model: nn.Module, test: Part) -> dict[str, float]:
    model.eval()
    batches = zip(test.images.split(EVAL_BATCH), test.labels.split(EVAL_BATCH), strict=True)
    hits, loss = 0.0, 0.0
    for images, labels in batches:
        logits = model(images)
        hits += (logits.argmax(1) == labels).sum().item()
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
    count = len(test.labels)
    metrics = {"test_accuracy": hits / count}
    # a net read with wrong statistics may overflow; its accuracy stands all the same
    return metrics | ({"test_loss": loss / count} if math.isfinite(loss) else {})
