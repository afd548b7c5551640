"""The rule that predicts a task's time from earlier ones, and how far off it is where the truth is known.

The earlier tasks that are most alike count, and those alone: the median of their times per sample, of two the lower one
(the first task of every worker also pays for what a worker has to import). Where they had several batch sizes, the time
per sample is taken between those on a line over 1 / batch size, which is exact where a step costs so much, and each of
its samples so much more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median_low

import numpy as np

from normzoo_bench.cost.past import Past
from normzoo_bench.cost.tasks import Key, Task

CHECKED = 200
"""Tasks of one measure that are predicted to see how far off that is; more would take long and tell no more."""


class Rule:
    """Predicts from these tasks, all of one kind of chip."""

    def __init__(self, past: Iterable[Past]) -> None:
        self._past = list(past)
        self._groups: dict[tuple[str, int, Key], list[Past]] = {}
        for one in self._past:
            for level, key in enumerate(one.task.keys):
                self._groups.setdefault((one.task.measure, level, key), []).append(one)
        self._known: dict[tuple[str, int, Key], dict[int, float]] = {}

    def predict(self, task: Task) -> tuple[float, int] | None:
        """Give a task's seconds, and the place of the likeness that they come from; None where nothing is like it."""
        for level, key in enumerate(task.keys):
            name = (task.measure, level, key)
            if name in self._groups:
                if name not in self._known:
                    self._known[name] = _per_sample(self._groups[name])
                return between(self._known[name], task.batch_size) * task.samples, level
        return None

    def errors(self, measure: str, device: str, level: int) -> list[float]:
        """Tell how far off a prediction by this likeness is: predicted / taken − 1, of tasks that can be predicted.

        A task is predicted by those that are as much like it as the level says, and not more: it itself is not among
        them, nor is what would have made a better guess than the likeness in question.
        """
        own = [one for one in self._past if (one.task.measure, one.task.settings.device) == (measure, device)]
        found = []
        for one in own[:CHECKED]:
            if others := self._others(one, level):
                predicted = between(_per_sample(others), one.task.batch_size) * one.task.samples
                found.append(predicted / one.seconds - 1)
        return found

    def _others(self, one: Past, level: int) -> list[Past]:
        alike = self._groups[one.task.measure, level, one.task.keys[level]]
        if level == 0:
            return [other for other in alike if other is not one]
        nearer = one.task.keys[level - 1]
        return [other for other in alike if other.task.keys[level - 1] != nearer]


def _per_sample(past: Iterable[Past]) -> dict[int, float]:
    """Give the median seconds per sample, by batch size."""
    found: dict[int, list[float]] = {}
    for one in past:
        found.setdefault(one.task.batch_size, []).append(one.seconds / one.task.samples)
    return {size: median_low(own) for size, own in found.items()}


def between(by_batch_size: Mapping[int, float], batch_size: int) -> float:
    """Take a value between those that are known, on a line over 1 / batch size; beyond them the nearest."""
    sizes = sorted(by_batch_size, reverse=True)
    known = [by_batch_size[size] for size in sizes]
    return float(np.interp(1 / batch_size, [1 / size for size in sizes], known))
