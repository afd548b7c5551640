"""The measure ``accuracy``: train one model under one seed, and read its test accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import normzoo
from normzoo import TooFewValuesError
from normzoo_bench import models, splits
from normzoo_bench.data import DataSet, Images
from normzoo_bench.ranks import VirtualRanks, virtualize
from normzoo_bench.result import CannotRun, Diverged, Result, options_as_built
from normzoo_bench.seeds import torch_seed
from normzoo_suites import parse_call
from normzoo_suites.settings import AccuracySettings

MOMENTUM = 0.9  # of SGD, Nesterov's
EVAL_BATCH = 250  # only a matter of memory: eval ignores batch-mates


def measure(settings: AccuracySettings, data: DataSet) -> Result:
    """Train and test; every random draw follows from the seed alone.

    Raises:
        Diverged: when an epoch's mean loss is not finite.
        CannotRun: when a layer gets too few values for its statistic.

    """
    train, test = feeds(*data.parts(settings.seed, settings.train_samples), settings.device)
    card = normzoo.card(parse_call(settings.normalizer).name)
    model = build(settings, data, len(train.labels) // settings.batch_size * settings.epochs)
    options = options_as_built([one for one in model.modules() if isinstance(one, card.factory)], card)
    layers = virtualize(model, card, settings.ranks, settings.buffers)
    known = {"chance_accuracy": 1 / data.classes, "local_batch": settings.local_batch}
    try:
        series = fit(model, train, settings)
    except Diverged as error:
        raise Diverged(str(error), Result(known, error.result.series, options=options)) from None
    except TooFewValuesError as error:  # the plan asks built-in layers only where it may happen
        raise CannotRun(str(error)) from None
    metrics = known | {"train_accuracy": series["train_accuracy"][-1]} | _readings(model, layers, test, settings)
    return Result(metrics, series, options=options)


@dataclass(frozen=True)
class Feed:
    """Images on the device, uint8 [n, C, H, W], given out as float32 of mean 0 and deviation 1 per channel."""

    images: Tensor
    labels: Tensor
    mean: Tensor  # [1, C, 1, 1], of pixels in 0…255
    deviation: Tensor  # likewise

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Give images [N, C, H, W] and labels [N]."""
        return (self.images[index].float() - self.mean) / self.deviation, self.labels[index]


def feeds(train: Images, test: Images, device: str) -> tuple[Feed, Feed]:
    """Put both parts on the device; both are standardized by the training part's statistics."""
    count = train.images[:, 0].numel()
    sums = torch.zeros(2, train.images.shape[1], dtype=torch.float64)
    for images in train.images.split(1000):
        pixels = images.double()
        sums += torch.stack([pixels.sum((0, 2, 3)), pixels.square().sum((0, 2, 3))])
    mean = sums[0] / count
    deviation = (sums[1] / count - mean.square()).clamp(min=1e-6).sqrt()
    scale = [value.float().view(1, -1, 1, 1).to(device) for value in (mean, deviation)]
    first, second = (Feed(part.images.to(device), part.labels.to(device), *scale) for part in (train, test))
    return first, second


def build(settings: AccuracySettings, data: DataSet, steps: int) -> nn.Module:
    """Build the model with its normalizer.

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
    return model.to(settings.device)


def fit(model: nn.Module, train: Feed, settings: AccuracySettings) -> dict[str, list[float]]:
    """Train by SGD with Nesterov momentum and a cosine from the learning rate to 0; give the series by epoch."""
    epoch_order = splits.epochs(settings, train.labels.cpu().numpy())
    steps = len(train.labels) // settings.batch_size
    optimizer, schedule = _optimizer(model, settings, steps * settings.epochs)
    series: dict[str, list[float]] = {"train_loss": [], "train_accuracy": []}
    model.train()
    for number in range(settings.epochs):
        order = torch.from_numpy(epoch_order(number)).to(settings.device)
        loss_sum, hits = torch.zeros((), device=settings.device), torch.zeros((), device=settings.device)
        for index in order:
            images, labels = train.batch(index)
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
    # weight decay is for weights; norms, biases and what the model itself excepts go without, as timm does it
    excepted: set[str] = getattr(model, "no_weight_decay", set)()
    weights: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (others if parameter.dim() <= 1 or name in excepted else weights).append(parameter)
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, settings.rate(), momentum=MOMENTUM, nesterov=True)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _readings(model: nn.Module, layers: list[VirtualRanks], test: Feed, settings: AccuracySettings) -> dict[str, float]:
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
def _test(model: nn.Module, test: Feed) -> dict[str, float]:
    model.eval()
    hits, loss = 0.0, 0.0
    for start in range(0, len(test.labels), EVAL_BATCH):
        images, labels = test.batch(slice(start, start + EVAL_BATCH))
        logits = model(images)
        hits += (logits.argmax(1) == labels).sum().item()
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
    count = len(test.labels)
    metrics = {"test_accuracy": hits / count}
    # a net read with wrong statistics may overflow; its accuracy stands all the same
    return metrics | ({"test_loss": loss / count} if math.isfinite(loss) else {})
