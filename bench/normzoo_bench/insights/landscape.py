"""The measure ``landscape``: how loss and gradient change along the gradient, while a net trains.

Santurkar et al. 2018 (arXiv:1805.11604), section 3.2 and figure 4: at a step of the training, with its batch held, one
moves along the gradient and looks at the loss (a), at how far the gradient is from that at the start (b), and at the
effective β-smoothness, the largest change of the gradient over the distance moved (c).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from normzoo_bench.accuracy import Ended, Run
from normzoo_bench.data import DataSet
from normzoo_bench.insights.watched import Held, distance, norm, while_training
from normzoo_bench.result import CannotRun, Result
from normzoo_suites.settings import LandscapeSettings

SIZES = 8
"""Steps that are tried along each gradient, evenly spaced up to the longest."""

LossAndGradient = Callable[[Sequence[Tensor]], tuple[Tensor, list[Tensor]]]
"""Of weights: the loss, a scalar, and its gradient by each of them."""


def measure(cells: Sequence[LandscapeSettings], data: DataSet) -> list[Ended]:
    """Train once, and look along the gradients for every cell."""
    return while_training(cells, data, Landscape)


class Line(NamedTuple):
    """What is met along one gradient.

    Attributes:
        sizes: of the steps, in gradients: η, where the weights are w − η·g.
        losses: at the start, and after each step; one more than there are sizes.
        changes: of the gradient since the start, after each step: ‖g(η) − g‖.
        norm: of the gradient at the start.

    """

    sizes: list[float]
    losses: list[float]
    changes: list[float]
    norm: float

    @property
    def finite(self) -> bool:
        """Whether all of it is."""
        return all(math.isfinite(one) for one in (*self.losses, *self.changes, self.norm))

    @property
    def range(self) -> float:
        """The largest loss less the smallest."""
        return max(self.losses) - min(self.losses)

    @property
    def change(self) -> float:
        """The largest change of the gradient: its (un)predictiveness."""
        return max(self.changes)

    @property
    def smoothness(self) -> float:
        """The largest change of the gradient over the distance moved, the effective β; needs a gradient."""
        return max(change / (size * self.norm) for size, change in zip(self.sizes, self.changes, strict=True))

    @property
    def rising(self) -> float:
        """The share of the steps after which the loss is higher than at the start."""
        return sum(loss > self.losses[0] for loss in self.losses[1:]) / len(self.sizes)


def line(at: LossAndGradient, weights: Sequence[Tensor], sizes: Sequence[float]) -> Line:
    """Move from weights against the gradient there, by each of the sizes times it.

    The weights are left as they are. Numbers are read off the device once, at the end.
    """
    start, gradient = at(weights)
    losses, changes = [start], []
    for size in sizes:
        loss, there = at([w - size * g for w, g in zip(weights, gradient, strict=True)])
        losses.append(loss)
        changes.append(norm([b - a for a, b in zip(gradient, there, strict=True)]))
    lengths = torch.stack([*changes, norm(gradient)]).tolist()
    return Line(list(sizes), torch.stack(losses).double().tolist(), lengths[:-1], lengths[-1])


def summed_up(lines: Sequence[Line]) -> dict[str, float]:
    """Give the metrics of the lines of one training: means over them, and the largest.

    Where the gradient is 0 the loss is flat, and nothing can be relative to it: such lines are left out there.

    Raises:
        CannotRun: when the gradient is 0 on all of them.

    """
    sloping = [one for one in lines if one.norm > 0]
    if not sloping:
        raise CannotRun("the gradient is 0 wherever it was looked along: there is no line to move on")
    smoothness = [one.smoothness for one in sloping]
    return {
        "loss_range": _mean([one.range for one in lines]),
        "gradient_change": _mean([one.change for one in lines]),
        "effective_smoothness": _mean(smoothness),
        "loss_range_relative": _mean([one.range / (one.sizes[-1] * one.norm**2) for one in sloping]),
        "gradient_change_relative": _mean([one.change / one.norm for one in sloping]),
        "rising_share": _mean([one.rising for one in lines]),
        "loss_range_largest": max(one.range for one in lines),
        "gradient_change_largest": max(one.change for one in lines),
        "effective_smoothness_largest": max(smoothness),
        "line_gradient_norm": _mean([one.norm for one in lines]),
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


@dataclass
class Landscape:
    """Looks along the gradient before every k-th step."""

    run: Run
    settings: LandscapeSettings

    def __post_init__(self) -> None:
        self.every = distance(self.run, self.settings.every)
        longest = self.settings.reach * self.settings.rate()
        self.sizes = [longest * (number + 1) / SIZES for number in range(SIZES)]
        self.lines: dict[int, Line] = {}

    def before(self, step: int) -> None:
        """Look along the gradient of the batch that this step will take."""
        if step % self.every == 0:
            held = Held.of(self.run)
            self.lines[step] = line(held.at, held.weights, self.sizes)

    def after(self, step: int) -> None:
        """Look at nothing."""

    def result(self) -> Result:
        """Give means over the lines, and each line's numbers.

        Raises:
            CannotRun: when a line leads to numbers that are not finite, or no line has a gradient.

        """
        astray = next((step for step, one in self.lines.items() if not one.finite), None)
        if astray is not None:
            raise CannotRun(
                f"the loss is not finite along the gradient of step {astray}, within {self.settings.reach:g} learning "
                "rates; ask for a shorter reach"
            )
        metrics = summed_up(list(self.lines.values()))
        return Result(metrics, dict(self.run.training.series), self._samples(), options=self.run.options)

    def _samples(self) -> dict[str, list[float]]:
        """Give each line's numbers; of one without a gradient there is no smoothness, and 0 stands for it."""
        lines = self.lines.values()
        return {
            "landscape_step": [float(step) for step in self.lines],
            "landscape_loss": [one.losses[0] for one in lines],
            "landscape_loss_lowest": [min(one.losses) for one in lines],
            "landscape_loss_highest": [max(one.losses) for one in lines],
            "landscape_gradient_change": [one.change for one in lines],
            "landscape_smoothness": [one.smoothness if one.norm > 0 else 0.0 for one in lines],
            "landscape_gradient_norm": [one.norm for one in lines],
        }
