"""Accuracy against training speed, where a run measured both: who is best at one without being worst at the other.

A speed is batch norm's time over a normalizer's, taken in turn in one process, so that batch norm stands at 1 and what
is faster to its right. Accuracy is of trainings, speed of other processes with their own model, batch and device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from normzoo_reports import words
from normzoo_reports.findings.costs import Weighed, weighed
from normzoo_reports.findings.levels import levels
from normzoo_reports.findings.paces import layers_of
from normzoo_reports.results import Estimate
from normzoo_reports.tables import conditions, estimate, unsynchronized
from normzoo_suites import Run

_LEAST = 2  # normalizers with both
_TRAINING = (("model_throughput", "phase", "training"), ("throughput", "direction", "forward_backward"))
"""By measure, the setting that says that a time is one of training; models before layers."""

_NAMED = {
    "accuracy": ("model", "dataset", "batch_size", "device"),
    "model_throughput": ("model", "image_size", "batch_size", "device", "precision", "layout", "mode"),
    "throughput": ("shape", "batch_size", "device", "dtype", "layout", "mode"),
}
"""By measure, the settings that a reader must know of an axis, where all its cells share them."""


@dataclass(frozen=True)
class Mark:
    """One normalizer under one condition.

    Attributes:
        normalizer: its name.
        accuracy: the mean over seeds.
        time: its time relative to batch norm's.
        outside: whether its time leaves out the exchange between ranks; it then takes no part in the front.
        front: whether no other one is at least as good at both and better at one.

    """

    normalizer: str
    accuracy: Estimate
    time: Estimate
    outside: bool = False
    front: bool = False

    @property
    def speed(self) -> float:
        """Training throughput relative to batch norm's."""
        return 1 / self.time.value

    @property
    def speeds(self) -> tuple[float, float] | None:
        """The ends of what the time scatters, as throughput, or None."""
        if not self.time.low or not self.time.high:  # a time of 0 has no throughput
            return None
        return 1 / self.time.high, 1 / self.time.low

    @property
    def speed_text(self) -> str:
        """The throughput with its ends: "1.10× [1.08, 1.13]"."""
        spread = words.show_range("ratio", *self.speeds) if self.speeds else ""
        return f"{words.show('ratio', self.speed)} {spread}".rstrip()


@dataclass(frozen=True)
class Tradeoff:
    """All marks.

    Attributes:
        metric: the accuracy's name.
        panels: by the condition of the accuracy, the marks.
        accuracy_of: what the accuracies are of, in words.
        speed_of: what the speeds are of, in words.
        spread: what the lines across are.
        others: how many other conditions of speed there are.
        note: whose times leave out the exchange between ranks.

    """

    metric: str
    panels: tuple[tuple[str, tuple[Mark, ...]], ...]
    accuracy_of: str
    speed_of: str
    spread: str
    others: int
    note: str


def tradeoff(run: Run, table: pd.DataFrame) -> Tradeoff | None:
    """Give accuracy against speed; None where fewer than 2 normalizers have both."""
    found = levels(run, table)
    timed = _timed(run, table, set(found[0]["normalizer"])) if found else None
    if found is None or timed is None:
        return None
    (rows, metric, names), (speeds, kind, others) = found, timed
    times = {str(name): kind.sum_up(own, kind.metric) for name, own in speeds.groupby("normalizer", sort=False)}
    outside = set(speeds.loc[speeds["unsynchronized"], "normalizer"])
    panels = []
    for condition, group in rows.groupby(names, sort=False):
        marks = list(_marks(group, metric, times, outside))
        if len(marks) >= _LEAST:
            panels.append((str(condition), tuple(_with_front(marks))))
    if not panels:
        return None
    scatters = dict.fromkeys(mark.time.over for _, marks in panels for mark in marks if mark.speeds)
    return Tradeoff(
        metric,
        tuple(panels),
        _told(rows),
        f"{_WHAT[kind.measure]} {_told(speeds)}",
        " or ".join(_SPREADS.get(one, "the 95 % interval") for one in scatters),
        others,
        unsynchronized(speeds),
    )


_WHAT = {"model_throughput": "a model's training step:", "throughput": "a layer's forward and backward:"}
_SPREADS = {
    "layer": "the range over layers (marks are geometric means)",
    "sample": "the samples' 10th to 90th percentile in one process",
}


def _timed(run: Run, table: pd.DataFrame, wanted: set[str]) -> tuple[pd.DataFrame, Weighed, int] | None:
    """Give the cells of training under the condition that times most of these normalizers, and how many others are.

    Of equals the first stands, as the suite has them; layers are those in a warm cache, where any are.
    """
    for measure, key, value in _TRAINING:
        for one in weighed(run, table):
            if one.measure != measure or key not in one.rows:
                continue
            rows = one.rows[(one.rows[key] == value) & one.rows["normalizer"].isin(wanted)]
            rows = rows[rows[one.metric].notna()] if one.metric in rows else rows[:0]
            groups = [group for _, group in rows.groupby(one.names[rows.index], sort=False)]
            groups = [_alike(group, one.metric) for group in groups]
            groups = [group for group in groups if group["normalizer"].nunique() >= _LEAST]
            if groups:
                return max(groups, key=lambda group: group["normalizer"].nunique()), one, len(groups) - 1
    return None


def _alike(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Keep the normalizers that were timed on the same layers as most: means over different ones are never compared."""
    layers = {str(name): layers_of(own, metric) for name, own in rows.groupby("normalizer", sort=False)}
    (shared, _), *_ = Counter(layers.values()).most_common(1)
    return rows[[layers[str(name)] == shared for name in rows["normalizer"]]]


def _marks(
    rows: pd.DataFrame, metric: str, times: dict[str, Estimate | str], outside: Collection[str]
) -> Iterator[Mark]:
    for name, own in rows.groupby("normalizer", sort=False):
        accuracy, time = estimate(own, metric), times.get(str(name))
        if isinstance(accuracy, Estimate) and isinstance(time, Estimate) and time.value > 0:
            yield Mark(str(name), accuracy, time, name in outside)


def _with_front(marks: Sequence[Mark]) -> Iterator[Mark]:
    def beaten(mark: Mark) -> bool:
        own = (mark.accuracy.value, mark.speed)
        every = [(other.accuracy.value, other.speed) for other in marks if not other.outside]
        return any(one != own and one[0] >= own[0] and one[1] >= own[1] for one in every)

    for mark in marks:
        yield replace(mark, front=not mark.outside and not beaten(mark))


def _told(rows: pd.DataFrame) -> str:
    """Name what all of these cells share."""
    keys = [key for key in _NAMED[str(rows["measure"].iloc[0])] if key in rows and rows[key].nunique() == 1]
    return str(conditions(rows.iloc[:1], keys).iloc[0])
