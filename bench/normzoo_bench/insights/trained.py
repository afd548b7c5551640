"""A training that a measure looks into: the same, to the bit, as ``accuracy`` trains it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import nn

import normzoo
from normzoo import TooFewValuesError
from normzoo_bench.accuracy import Ended, Run, finish
from normzoo_bench.data import DataSet
from normzoo_bench.result import CannotRun, Result
from normzoo_suites import parse_call
from normzoo_suites.settings import TrainingSettings, training_of

S = TypeVar("S", bound=TrainingSettings)


def begun(settings: TrainingSettings, data: DataSet) -> Run:
    """Build the model and its batches; nothing is trained yet."""
    training = training_of(settings)
    assert training is not None  # for mypy: these are settings of a training
    return Run(training, data)


def after_training(cells: Sequence[S], data: DataSet, look: Callable[[Run, S], Result]) -> list[Ended]:
    """Train once, and look at the trained net for every cell; one that diverged shows nothing.

    A layer that gets too few values in training leaves nothing to look at; what one cell cannot see leaves the others.
    """
    run = begun(cells[0], data)
    try:
        finish(run)
    except TooFewValuesError as error:
        return [CannotRun(str(error)) for _ in cells]
    if run.training.diverged:
        return [run.diverged() for _ in cells]
    return [_looked(run, settings, look) for settings in cells]


def _looked(run: Run, settings: S, look: Callable[[Run, S], Result]) -> Ended:
    try:
        return look(run, settings)
    except (CannotRun, TooFewValuesError) as error:
        return CannotRun(str(error))


def norm_layers(model: nn.Module, settings: TrainingSettings) -> list[nn.Module]:
    """Give the layers of the cell's normalizer, in the order of the model; one without any is not planned."""
    factory = normzoo.card(parse_call(settings.normalizer).name).factory
    return [layer for layer in model.modules() if isinstance(layer, factory)]
