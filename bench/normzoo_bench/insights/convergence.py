"""The measure ``convergence``: how soon a net is as good as one without normalization gets, and at which rates.

Ioffe and Szegedy 2015 count the steps that networks need to the best accuracy of the one without batch norm, at 1, 5
and 30 times its learning rate (arXiv:1502.03167, section 4.2.2, figures 2 and 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from normzoo import TooFewValuesError
from normzoo_bench.accuracy import Ended, Run, finish
from normzoo_bench.data import DataSet
from normzoo_bench.insights.watched import StopTraining, steps_of, trains, watch_steps
from normzoo_bench.result import CannotRun, Result
from normzoo_bench.training.readings import hits_and_loss
from normzoo_suites.settings import AccuracySettings, ConvergenceSettings, training_of

FURTHEST = 10
"""Doublings of the learning rate, up or down, after which the search for the highest ends."""

_TARGETS: dict[tuple[str, str], float] = {}
"""What ``none`` has reached, by training and data: cells of other normalizers and rates share it."""


def measure(cells: Sequence[ConvergenceSettings], data: DataSet) -> list[Ended]:
    """Train for every cell, as often as what it looks for needs."""
    return [_ended(settings, data) for settings in cells]


def _ended(settings: ConvergenceSettings, data: DataSet) -> Ended:
    try:
        return _steps(settings, data) if settings.find == "steps" else _rate(settings, data)
    except (CannotRun, TooFewValuesError) as error:
        return CannotRun(str(error))


def _steps(settings: ConvergenceSettings, data: DataSet) -> Result:
    target = _target(settings, data)
    run = Run(_at(settings, settings.times), data)
    curve = curve_of(run, settings.every, enough=target)
    steps, last = first_at(curve, target), steps_of(run)
    metrics = {
        "steps_to_target": float(steps or last),
        "steps_to_target_log2": math.log2(steps or last),
        "reached": float(steps is not None),
        "target_accuracy": target,
    }
    samples = {"tested_after": [float(one) for one in curve], "tested_accuracy": list(curve.values())}
    return Result(metrics, samples=samples, options=run.options)


def _rate(settings: ConvergenceSettings, data: DataSet) -> Result:
    tried: dict[float, bool] = {}
    options = {}

    def trained(times: float) -> bool:
        run = Run(_at(settings, times), data)
        finish(run)
        options.update(run.options)
        tried[times] = trains(run)
        return tried[times]

    found = highest(trained)
    times = 0.0 if found is None else 2.0**found
    metrics = {"highest_rate_times": times, "highest_rate_log2": -FURTHEST - 1.0 if found is None else found}
    samples = {"tried_times": list(tried), "tried_trained": [float(one) for one in tried.values()]}
    return Result(metrics, samples=samples, options=options)


def highest(trained: Callable[[float], bool]) -> float | None:
    """Look for the highest multiple of a rate that trains: by doubling or, where 1 is too high, halving; then between.

    Up to the found one, to a factor of √2, rates are taken to train; beyond the first that fails none is tried.

    Args:
        trained: tells of a multiple whether it does.

    Returns:
        log2 of the multiple, in halves, at most 10; None where not even 2⁻¹⁰ trains.

    """
    exponent = 0
    if trained(1.0):
        while exponent < FURTHEST and trained(2.0 ** (exponent + 1)):
            exponent += 1
        if exponent == FURTHEST:
            return float(FURTHEST)
    else:
        exponent = next((-one for one in range(1, FURTHEST + 1) if trained(2.0**-one)), -FURTHEST - 1)
        if exponent < -FURTHEST:
            return None
    return exponent + 0.5 if trained(2.0 ** (exponent + 0.5)) else float(exponent)


def first_at(curve: dict[int, float], target: float) -> int | None:
    """Give the first step of a curve at which the target is reached, or None."""
    return next((step for step, value in curve.items() if value >= target), None)


def curve_of(run: Run, every: int, enough: float = math.inf) -> dict[int, float]:
    """Train, and give the test accuracy by steps taken: every so many, and at the end; it ends where that is enough."""
    curve: dict[int, float] = {}
    last = steps_of(run)

    def look(taken: int) -> None:
        if taken % every and taken != last:
            return
        curve[taken], _ = hits_and_loss(run.training.model, run.held, run.settings)
        run.training.model.train()
        if curve[taken] >= enough:
            raise StopTraining

    watch_steps(run, look)
    return curve


def _target(settings: ConvergenceSettings, data: DataSet) -> float:
    """Give the best test accuracy on the way of the same net without normalization, at the plain rate.

    Raises:
        CannotRun: where that is at most halfway from chance to 1: such a net does not train, and sets no target.

    """
    plain = _at(settings, 1).model_copy(update={"normalizer": "none", "warmup_epochs": 0, "clip_gradient": 0.0})
    key = (f"{settings.every} {plain.model_dump_json()}", data.fingerprint)
    if key not in _TARGETS:
        _TARGETS[key] = max(curve_of(Run(plain, data), settings.every).values())
    if _TARGETS[key] <= (1 + 1 / data.classes) / 2:
        raise CannotRun(
            f"without normalization the net reaches {_TARGETS[key]:.3f}, which is no target: it does not train"
        )
    return _TARGETS[key]


def _at(settings: ConvergenceSettings, times: float) -> AccuracySettings:
    training = training_of(settings)
    assert training is not None  # for mypy: these are settings of a training
    return training.model_copy(update={"learning_rate": settings.rate() * times})
