"""Every setting a cell can have, spelt once: its type, its range and its default.

A measure is a name and a settings class. Defaults stay out of a cell's id, so a new setting that has one leaves old
ids alone; a changed default would silently change what old ids mean and is therefore never made.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError, create_model

from normzoo_suites.errors import Place, SuiteError, explain, show, suggest
from normzoo_suites.settings.accuracy import AccuracySettings
from normzoo_suites.settings.base import Settings
from normzoo_suites.settings.convergence import ConvergenceSettings
from normzoo_suites.settings.covariate_shift import CovariateShiftSettings
from normzoo_suites.settings.demonstration import DemonstrationSettings
from normzoo_suites.settings.gradients import GradientsSettings
from normzoo_suites.settings.landscape import LandscapeSettings
from normzoo_suites.settings.statistics_noise import StatisticsNoiseSettings
from normzoo_suites.settings.timed import (
    MemorySettings,
    ModelThroughputSettings,
    SyncCostSettings,
    ThroughputSettings,
    TimedSettings,
)
from normzoo_suites.settings.train_eval import TrainEvalSettings
from normzoo_suites.settings.training import TrainingSettings
from normzoo_suites.values import Value

__all__ = [
    "DERIVED",
    "MEASURES",
    "AccuracySettings",
    "ConvergenceSettings",
    "CovariateShiftSettings",
    "DemonstrationSettings",
    "GradientsSettings",
    "LandscapeSettings",
    "MemorySettings",
    "ModelThroughputSettings",
    "Settings",
    "StatisticsNoiseSettings",
    "SyncCostSettings",
    "ThroughputSettings",
    "TimedSettings",
    "TrainEvalSettings",
    "TrainingSettings",
    "canonical_side",
    "canonical_value",
    "training_of",
]

MEASURES: dict[str, type[Settings]] = {
    "accuracy": AccuracySettings,
    "throughput": ThroughputSettings,
    "model_throughput": ModelThroughputSettings,
    "memory": MemorySettings,
    "sync_cost": SyncCostSettings,
    "statistics_noise": StatisticsNoiseSettings,
    "train_eval": TrainEvalSettings,
    "demonstration": DemonstrationSettings,
    "gradients": GradientsSettings,
    "convergence": ConvergenceSettings,
    "landscape": LandscapeSettings,
    "covariate_shift": CovariateShiftSettings,
}


def training_of(settings: Settings) -> AccuracySettings | None:
    """Give the training that a measure looks into, as ``accuracy`` spells it; None for what trains nothing."""
    if isinstance(settings, AccuracySettings) or not isinstance(settings, TrainingSettings):
        return settings if isinstance(settings, AccuracySettings) else None
    return AccuracySettings(**{key: getattr(settings, key) for key in TrainingSettings.model_fields})


DERIVED = {"accuracy": ("local_batch",), "sync_cost": ("local_batch",)}
"""By measure, what follows from the settings and can stand where a setting does."""


def canonical_value(measure: str, key: str, value: object) -> str | int | float:
    """Give a value of one setting as cells have it: checked, in its one spelling.

    Raises:
        SuiteError: for a setting that the measure does not have, or a value that it does not take.

    """
    fields = MEASURES[measure].model_fields
    if key not in fields:
        raise SuiteError(f"unknown setting {show(key)} of {measure}; {suggest(key, fields)}")
    try:
        checked = _only(measure, key).model_validate({key: value})
    except ValidationError as error:
        raise explain(error, lambda _: fields) from None
    return getattr(checked, key)  # type: ignore[no-any-return]  # every setting is one of the three


def canonical_side(measure: str | None, side: Iterable[tuple[str, Value]], place: Place) -> dict[str, Value]:
    """Spell a table of settings as cells have them, so that they can be compared; what is no setting stays as it is.

    Raises:
        SuiteError: for a value that its setting does not take, with its place.

    """
    known = MEASURES[measure].model_fields if measure in MEASURES else ()
    try:
        return {key: canonical_value(str(measure), key, value) if key in known else value for key, value in side}
    except SuiteError as error:
        raise error.under(*place) from None


@functools.cache
def _only(measure: str, key: str) -> type[BaseModel]:
    """Make a model of one setting by itself, without the checks that compare it with others."""
    field = MEASURES[measure].model_fields[key]
    definition: dict[str, Any] = {key: (field.annotation, field)}
    return create_model(key, __config__=Settings.model_config, **definition)
