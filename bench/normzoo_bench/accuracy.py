"""The measure ``accuracy``: train one model under one seed, and read its test accuracy."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import normzoo
from normzoo import CannotRecalibrateError, Card, TooFewValuesError
from normzoo_bench import models, processes, splits
from normzoo_bench.data import DataSet
from normzoo_bench.ranks import virtualize
from normzoo_bench.result import CannotRun, Diverged, Result, options_as_built
from normzoo_bench.seeds import stream, torch_seed
from normzoo_bench.streamed import StreamedSet
from normzoo_bench.training.affected import AffectedBatches, affected
from normzoo_bench.training.capture import Captured
from normzoo_bench.training.everything import Readings, ReadingsByRank
from normzoo_bench.training.federated import Federation
from normzoo_bench.training.feed import Feed, feeds
from normzoo_bench.training.observe import observer
from normzoo_bench.training.readings import Reader, freeze
from normzoo_bench.training.stream import StreamBatches, StreamFeed, stream_feeds
from normzoo_bench.training.trainer import Batches, ResidentBatches, Training, eager, layout, train
from normzoo_suites import parse_call
from normzoo_suites.settings import AccuracySettings

Ended = Result | Diverged | CannotRun
"""How one cell of several ended that were trained side by side."""


def measure(settings: AccuracySettings, data: DataSet | StreamedSet) -> Result:
    """Train and test; every random draw follows from the seed alone.

    Raises:
        Diverged: when an epoch's mean loss is not finite.
        CannotRun: when a layer gets too few values for its statistic.

    """
    (ended,) = measure_together([settings], data)
    if isinstance(ended, Exception):
        raise ended
    return ended


def measure_together(cells: Sequence[AccuracySettings], data: DataSet | StreamedSet) -> list[Ended]:
    """Train several cells side by side; each gives what it gives alone.

    They differ in ``seed`` and in what is read afterwards only. Those that differ in the latter alone share one
    training.
    """
    try:
        if cells[0].ranks_backend == "process":
            return processes.measure(cells, data)
        runs = [Run(settings, data) for settings in {one.seed: one for one in cells}.values()]
        for group in _side_by_side(runs):
            _train(group)
        return read(runs, cells)
    except TooFewValuesError as error:  # the plan asks built-in layers only where it may happen
        return [CannotRun(str(error)) for _ in cells]
    except CannotRun as error:
        return [error for _ in cells]


def read(runs: Sequence[Run], cells: Sequence[AccuracySettings]) -> list[Ended]:
    """Give how each cell ended, read off the training of its seed."""
    of_seed = {run.settings.seed: run for run in runs}
    return [of_seed[settings.seed].ended(settings) for settings in cells]


def virtual(model: nn.Module, card: Card, batches: Batches, settings: AccuracySettings) -> Training:
    """Begin a training whose ranks are virtual."""
    virtualize(model, card, settings.ranks, settings.buffers)
    return Training(model, batches, settings)


class Run:
    """One training, from its weights to its readings; ``begin`` makes the training of a model and its batches."""

    def __init__(
        self,
        settings: AccuracySettings,
        data: DataSet | StreamedSet,
        begin: Callable[[nn.Module, Card, Batches, AccuracySettings], Training] = virtual,
    ) -> None:
        self.settings = settings
        self.train, self.held = _feeds(settings, data)
        self.known = {"chance_accuracy": 1 / data.classes, "local_batch": settings.local_batch}
        card = normzoo.card(parse_call(settings.normalizer).name)
        model = build(settings, data, len(self.train) // settings.batch_size * settings.epochs)
        self.options = options_as_built([one for one in model.modules() if isinstance(one, card.factory)], card)
        self.training: Training | Federation
        if settings.local_epochs:
            self.training = Federation(model, self.train, settings)
        else:
            self.training = begin(model, card, _batches(self.train, settings, data.classes), settings)
        self.training.observer = observer()
        self.branch: Training | Federation | None = None
        if settings.effects != "none":  # what is read afterwards has them too; training draws its own
            parts = ((self.train, "training"), (self.held, settings.evaluate_on))
            self.train, self.held = (affected(feed, settings, data.classes, part) for feed, part in parts)
        self.split = splits.manifest(settings, self.train.labels.cpu().numpy(), data.classes)
        self._readings: Readings | ReadingsByRank | None = None

    def fork(self, kept: Training | None = None) -> None:
        """Branch off with frozen statistics, where the normalizer has any: off the training, or what was kept of it."""
        training = kept or self.training
        if normzoo.card(parse_call(self.settings.normalizer).name).running_stats and not training.diverged:
            if isinstance(training, Federation):
                self.branch = training.branch()
                return
            with contextlib.suppress(CannotRecalibrateError):
                self.branch = freeze(training, self.train, self.settings)

    def ended(self, asked: AccuracySettings) -> Ended:
        """Give what the training came to, read as one of its cells asks for."""
        series = self.training.series
        if self.training.diverged:
            return self.diverged()
        if self._readings is None:
            self._readings = self._to_read()
        # frozen statistics may lead a training astray that was sound before; that is a result, chance
        astray = self.branch is not None and self.branch.diverged
        metrics = self.known | {"train_accuracy": series["train_accuracy"][-1]}
        metrics |= {"test_accuracy_frozen": self.known["chance_accuracy"]} if astray else {}
        try:
            metrics |= self._readings.read(asked)
        except (CannotRun, TooFewValuesError) as error:  # this reading alone: the training and its other cells stand
            return CannotRun(str(error))
        return Result(metrics, series, options=self.options, split=self.split)

    def diverged(self) -> Diverged:
        """Give what is known of a training whose loss was not finite."""
        series = self.training.series
        finite = {name: values[: len(series["train_loss"]) - 1] for name, values in series.items()}
        told = f"the loss was not finite in epoch {len(series['train_loss'])} of {self.settings.epochs}"
        return Diverged(told, Result(self.known, finite, options=self.options, split=self.split))

    def _to_read(self) -> Readings | ReadingsByRank:
        branch = None if self.branch is None or self.branch.diverged else self.branch
        if self.settings.buffers == "local":
            both = [one if isinstance(one, Federation) else None for one in (self.training, branch)]
            return ReadingsByRank(self.settings, self.held, both)
        return Readings(Reader(self.settings, self.train, self.held), self.training, branch)


def _feeds(settings: AccuracySettings, data: DataSet | StreamedSet) -> tuple[Feed, Feed]:
    asked = (settings.seed, settings.train_samples, settings.evaluate_on)
    if isinstance(data, StreamedSet):
        return stream_feeds(*data.parts(*asked), settings.device, layout(settings))
    train, held = data.parts(*asked)
    owners = splits.owner_of(settings, train.labels.numpy())
    if parse_call(settings.split).name == "features" and owners is not None:
        train = dataclasses.replace(train, images=splits.shifted(settings, train.images, owners, "training"))
        # the test part looks as all ranks' data do: sample i as that of rank i mod ranks
        each = np.arange(len(held.labels)) % settings.ranks
        held = dataclasses.replace(held, images=splits.shifted(settings, held.images, each, settings.evaluate_on))
    if settings.label_noise:  # who owns what was decided by the true labels
        labels = noisy(train.labels, settings.label_noise, settings.seed, data.classes)
        train = dataclasses.replace(train, labels=labels)
    return feeds(train, held, settings.device, layout(settings))


def _batches(feed: Feed, settings: AccuracySettings, classes: int) -> Batches:
    if isinstance(feed, StreamFeed):
        return StreamBatches(feed, settings)
    if settings.effects != "none":
        return AffectedBatches(feed, settings, classes)
    return ResidentBatches(feed, settings)


def noisy(labels: Tensor, share: float, seed: int, classes: int) -> Tensor:
    """Replace this share of labels [n], to the nearest sample, each by one of the other classes."""
    draw = stream(seed, "label noise")
    changed = torch.from_numpy(draw.permutation(len(labels))[: round(share * len(labels))])
    found = labels.clone()
    found[changed] = (found[changed] + torch.from_numpy(draw.integers(1, classes, len(changed)))) % classes
    return found


def _side_by_side(runs: list[Run]) -> list[list[Run]]:
    """Group the runs that train at once: all on CUDA, but none where they share what they draw from, or decode with."""
    settings = runs[0].settings
    draws = any(_draws(module) for run in runs for module in run.training.model.modules())
    together = settings.device == "cuda" and settings.data == "resident" and not draws
    return [runs] if together else [[run] for run in runs]


def _draws(module: nn.Module) -> bool:
    """Tell whether a module draws at random in training: dropout's p, stochastic depth's drop_prob."""
    return any(isinstance(p := getattr(module, name, 0), float | int) and p > 0 for name in ("p", "drop_prob"))


def finish(run: Run) -> None:
    """Train one to its end."""
    _train([run])


def _train(runs: Sequence[Run]) -> None:
    settings = runs[0].settings
    torch.manual_seed(torch_seed(settings.seed, "training"))
    fork = fork_epoch(settings)
    if settings.local_epochs:
        for run in runs:
            _train_in_rounds(run, fork)
        return
    captured = settings.device == "cuda" and settings.capture == "auto" and settings.data == "resident"
    steps = Captured() if captured else eager
    trainings = [run.training for run in runs if isinstance(run.training, Training)]
    train(trainings, 0, fork, steps)
    if fork < settings.epochs:
        for run in runs:
            run.fork()
    train(trainings, fork, settings.epochs, steps)
    branches = [run.branch for run in runs if isinstance(run.branch, Training)]
    train(branches, fork, settings.epochs, Captured() if isinstance(steps, Captured) else eager)


def fork_epoch(settings: AccuracySettings) -> int:
    """Give the number of epochs before the branch with frozen statistics; all of them where there is none."""
    branches = settings.frozen_from < 1 and settings.evaluate_on == "test"
    return settings.frozen_epoch() if branches else settings.epochs


def _train_in_rounds(run: Run, fork: int) -> None:
    assert isinstance(run.training, Federation)  # for mypy: local_epochs made it one
    run.training.train(0, fork)
    if fork < run.settings.epochs:
        run.fork()
    run.training.train(fork, run.settings.epochs)
    if isinstance(run.branch, Federation):
        run.branch.train(fork, run.settings.epochs)


def build(settings: AccuracySettings, data: DataSet | StreamedSet, steps: int) -> nn.Module:
    """Build the model with its normalizer.

    Weights are drawn before the conversion, so that under one seed they are the same for every normalizer. What the
    normalizer wants to know of the run (batch renorm: its ramp) it says itself, in ``run_options``; options that the
    setting names win.
    """
    call = parse_call(settings.normalizer)
    torch.manual_seed(torch_seed(settings.seed, "weights"))
    model = models.build(settings.model, data.shape, data.classes)
    models.scale_weights(model, settings.initial_gain)
    model = normzoo.convert(model, call.name, **_options(settings, steps))
    moved: nn.Module = model.to(settings.device, memory_format=layout(settings))  # type: ignore[call-overload]  # no stub
    return moved


def _options(settings: AccuracySettings, steps: int) -> dict[str, Any]:
    """Give the normalizer's options: what the run suggests, then what the setting names, momentum rescaled last."""
    call = parse_call(settings.normalizer)
    card = normzoo.card(call.name)
    run_options = getattr(card.factory, "run_options", None)
    options: dict[str, Any] = (run_options(steps) if run_options else {}) | dict(call.options)
    momentum = options.get("momentum", card.options.get("momentum"))
    counting = parse_call(settings.momentum_counts)
    if counting.name == "samples" and isinstance(momentum, float | int):
        seen = settings.local_batch if settings.local_epochs else settings.batch_size  # by a step
        options["momentum"] = 1 - (1 - momentum) ** (seen / float(counting.options["per"] or 1))
    return options
