"""What a measure gives back, and how it says that it could not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from normzoo import Card
from normzoo_suites.record import Status, as_data


@dataclass(frozen=True)
class Result:
    """What one cell measured: see ``normzoo_suites.Record`` for metrics, series and samples.

    Attributes:
        metrics: numbers by name.
        series: a number per epoch, by name.
        samples: raw samples, by name.
        options: the normalizer's options as it was built.
        conditions: what held while it was timed.
        split: which rank owned which data; see ``normzoo_suites.Record``.

    """

    metrics: dict[str, float]
    series: dict[str, list[float]] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)


class Diverged(Exception):  # noqa: N818  # not an error: a result
    """Training produced a loss that is not finite; ``result`` is what is known all the same."""

    def __init__(self, reason: str, result: Result) -> None:
        super().__init__(reason)
        self.result = result

    def __reduce__(self) -> tuple[type[Diverged], tuple[str, Result]]:
        # as exceptions are pickled, its second argument would be lost
        return type(self), (str(self), self.result)


class CannotRun(Exception):  # noqa: N818  # not an error: a result
    """The cell asks for what its normalizer or machine cannot do; it is recorded as skipped."""


class RankFailed(Exception):  # noqa: N818  # a result, too: how the process of one rank has ended the cell
    """The process of a rank died, or raised; ``status`` is the cell's."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def options_as_built(layers: Iterable[nn.Module], card: Card) -> dict[str, Any]:
    """Read a normalizer's options off its layers; one that differs between layers gives the list of its values."""
    layers = list(layers)
    found = {}
    for name in card.options:
        # as a record has them: a plugin's may be of any type, and such that cannot be compared
        plain = [as_data({name: getattr(layer, name)})[name] for layer in layers if hasattr(layer, name)]
        values = list({json.dumps(value): value for value in plain}.values())
        if values:
            found[name] = values[0] if len(values) == 1 else values
    return found
