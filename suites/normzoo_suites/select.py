"""`[select]`: what is tuned before anything is measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, field_validator, model_validator

from normzoo_suites.errors import SuiteError, show, suggest
from normzoo_suites.settings import AccuracySettings, canonical_value
from normzoo_suites.values import TABLE, Value

FIRST_TRIAL_SEED = 100
"""Seeds from here are for the trials of ``[select]``; results have smaller ones."""

SCORES = ("validation_accuracy", "validation_loss")
"""What a trial produces, and can be chosen by."""


class Select(BaseModel):
    """Tuning: the same grid and the same budget for every condition, chosen on a validation part.

    Attributes:
        grid: by setting, the values that are tried; every combination is.
        seeds: how many seeds each combination gets, from ``FIRST_TRIAL_SEED``.
        fixed: what is otherwise in trials, such as fewer epochs.
        metric: what decides: ``validation_accuracy`` or ``validation_loss``.

    """

    model_config = TABLE

    grid: Annotated[dict[str, list[Value]], Field(min_length=1)]
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    fixed: dict[str, Value] = {}
    metric: str = SCORES[0]

    @field_validator("grid")
    @classmethod
    def _grid_in_one_spelling(cls, grid: dict[str, list[Value]]) -> dict[str, list[Value]]:
        for key, values in grid.items():
            if len(set(values)) < 2:
                raise SuiteError(f"[select] tries fewer than two values of {key}; name two or more", ("grid", key))
        spelt = {key: [_tunable("grid", key, value) for value in values] for key, values in grid.items()}
        for key, same in spelt.items():
            if len(set(same)) < len(same):
                raise SuiteError(f"[select] tries a value of {key} twice; leave one out", ("grid", key))
            if key in _UNTRIED:
                raise SuiteError(f"[select] cannot try {key}: {_UNTRIED[key]}", ("grid", key))
        return spelt

    @field_validator("fixed")
    @classmethod
    def _fixed_in_one_spelling(cls, fixed: dict[str, Value]) -> dict[str, Value]:
        return {key: _tunable("fixed", key, value) for key, value in fixed.items()}

    @model_validator(mode="after")
    def _can_select(self) -> Select:
        if self.metric not in SCORES:
            raise SuiteError(
                f"[select] chooses by {show(self.metric)}, which no trial produces; {suggest(self.metric, SCORES)}",
                ("metric",),
            )
        for key in self.grid:
            if key in self.fixed:
                raise SuiteError(f"{show(key)} is both tried and fixed in [select]; keep one", ("fixed", key))
        return self


_OF_THE_READER = ("ema", "readings", "frozen_from", *AccuracySettings.READ_AFTERWARDS)
_UNTRIED = dict.fromkeys(_OF_THE_READER, "no trial's score depends on it") | (
    dict.fromkeys(
        ("batch_size", "model", "epochs", "train_samples"), "every cell needs its own, or all the same budget"
    )
)


def _tunable(table: str, key: str, value: Value) -> Value:
    """Spell a value of a trial's setting as cells have it; what tells conditions apart cannot be tried."""
    if key in ("normalizer", "device", "seed", "evaluate_on", "dataset"):
        raise SuiteError(f"[select] cannot change {key}: it is what trials are for", (table, key))
    try:
        return canonical_value("accuracy", key, value)
    except SuiteError as error:
        raise error.under(table, key) from None
