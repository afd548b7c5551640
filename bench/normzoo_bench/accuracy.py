"""The measure ``accuracy``: train one model under one seed, and read its test accuracy."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

import normzoo
from normzoo import CannotRecalibrateError, TooFewValuesError
from normzoo_bench import models
from normzoo_bench.data import DataSet
from normzoo_bench.ranks import virtualize
from normzoo_bench.result import CannotRun, Diverged, Result, options_as_built
from normzoo_bench.seeds import torch_seed
from normzoo_bench.streamed import StreamedSet
from normzoo_bench.training.capture import Captured
from normzoo_bench.training.feed import Feed, feeds
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

    They differ in ``seed`` and ``eval_batch_size`` only. Those that differ in the latter alone share one training.
    """
    try:
        runs = {seed: Run(settings, data) for seed, settings in {one.seed: one for one in cells}.items()}
        for group in _side_by_side(list(runs.values())):
            _train(group)
        return [runs[settings.seed].ended(settings.eval_batch_size) for settings in cells]
    except TooFewValuesError as error:  # the plan asks built-in layers only where it may happen
        return [CannotRun(str(error)) for _ in cells]
    except CannotRun as error:
        return [error for _ in cells]


class Run:
    """One training, from its weights to its readings."""

    def __init__(self, settings: AccuracySettings, data: DataSet | StreamedSet) -> None:
        self.settings = settings
        self.train, self.held = _feeds(settings, data)
        self.known = {"chance_accuracy": 1 / data.classes, "local_batch": settings.local_batch}
        card = normzoo.card(parse_call(settings.normalizer).name)
        model = build(settings, data, len(self.train) // settings.batch_size * settings.epochs)
        self.options = options_as_built([one for one in model.modules() if isinstance(one, card.factory)], card)
        virtualize(model, card, settings.ranks, settings.buffers)
        self.training = Training(model, _batches(self.train, settings), settings)
        self.branch: Training | None = None
        self._read: dict[str, float] | None = None

    def fork(self) -> None:
        """Branch off a training with frozen statistics, where the normalizer has any to freeze."""
        if normzoo.card(parse_call(self.settings.normalizer).name).running_stats and not self.training.diverged:
            with contextlib.suppress(CannotRecalibrateError):
                self.branch = freeze(self.training, self.train, self.settings)

    def ended(self, eval_batch_size: int) -> Ended:
        """Give what the training came to, read by batches of so many samples."""
        series = self.training.series
        if self.training.diverged:
            finite = {name: values[: len(series["train_loss"]) - 1] for name, values in series.items()}
            told = f"the loss was not finite in epoch {len(series['train_loss'])} of {self.settings.epochs}"
            return Diverged(told, Result(self.known, finite, options=self.options))
        reader = Reader(self.settings, self.train, self.held)
        if self._read is None:
            self._read = reader.read(self.training) | self._frozen(reader)
        running = self._read.get("test_accuracy", 0.0)
        metrics = self.known | {"train_accuracy": series["train_accuracy"][-1]} | self._read
        try:
            by_batch = reader.by_batch(self.training, running, eval_batch_size)
        except (CannotRun, TooFewValuesError) as error:  # this reading alone: the training and its other cells stand
            return CannotRun(str(error))
        return Result(metrics | by_batch, series, options=self.options)

    def _frozen(self, reader: Reader) -> dict[str, float]:
        if self.branch is None:
            return {}
        # frozen statistics may lead a training astray that was sound before; that is a result, chance
        chance = {"test_accuracy_frozen": self.known["chance_accuracy"]}
        return chance if self.branch.diverged else reader.frozen(self.branch)


def _feeds(settings: AccuracySettings, data: DataSet | StreamedSet) -> tuple[Feed, Feed]:
    asked = (settings.seed, settings.train_samples, settings.evaluate_on)
    if isinstance(data, StreamedSet):
        return stream_feeds(*data.parts(*asked), settings.device, layout(settings))
    return feeds(*data.parts(*asked), settings.device, layout(settings))


def _batches(feed: Feed, settings: AccuracySettings) -> Batches:
    return StreamBatches(feed, settings) if isinstance(feed, StreamFeed) else ResidentBatches(feed, settings)


def _side_by_side(runs: list[Run]) -> list[list[Run]]:
    """Group the runs that train at once: all on CUDA, but none where they share what they draw from, or decode with."""
    settings = runs[0].settings
    draws = any(_draws(module) for run in runs for module in run.training.model.modules())
    together = settings.device == "cuda" and settings.data == "resident" and not draws
    return [runs] if together else [[run] for run in runs]


def _draws(module: nn.Module) -> bool:
    """Tell whether a module draws at random in training: dropout's p, stochastic depth's drop_prob."""
    return any(isinstance(p := getattr(module, name, 0), float | int) and p > 0 for name in ("p", "drop_prob"))


def _train(runs: Sequence[Run]) -> None:
    settings = runs[0].settings
    torch.manual_seed(torch_seed(settings.seed, "training"))
    captured = settings.device == "cuda" and settings.capture == "auto" and settings.data == "resident"
    steps = Captured() if captured else eager
    trainings = [run.training for run in runs]
    fork = settings.frozen_epoch() if settings.frozen_from < 1 and settings.evaluate_on == "test" else settings.epochs
    train(trainings, 0, fork, steps)
    if fork < settings.epochs:
        for run in runs:
            run.fork()
    train(trainings, fork, settings.epochs, steps)
    branches = [run.branch for run in runs if run.branch is not None]
    train(branches, fork, settings.epochs, Captured() if isinstance(steps, Captured) else eager)


def build(settings: AccuracySettings, data: DataSet | StreamedSet, steps: int) -> nn.Module:
    """Build the model with its normalizer.

    Weights are drawn before the conversion, so that under one seed they are the same for every normalizer. What the
    normalizer wants to know of the run (batch renorm: its ramp) it says itself, in ``run_options``; options that the
    setting names win.
    """
    call = parse_call(settings.normalizer)
    torch.manual_seed(torch_seed(settings.seed, "weights"))
    model = models.build(settings.model, data.shape, data.classes)
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
        options["momentum"] = 1 - (1 - momentum) ** (settings.batch_size / float(counting.options["per"] or 1))
    return options
