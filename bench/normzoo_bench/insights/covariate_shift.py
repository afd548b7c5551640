"""The measure ``covariate_shift``: how far what a layer sees moves while a net trains, in both published meanings.

Ioffe and Szegedy 2015 (arXiv:1502.03167) speak of the distribution of a layer's inputs, which changes as the layers
before it do. Santurkar et al. 2018 (arXiv:1805.11604, definition 2.1) speak of the layer's gradient: ‖G − G'‖, G as it
is before a step, and G' once the earlier layers, and only they, have taken theirs, on the same batch.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from normzoo_bench.accuracy import Ended, Run
from normzoo_bench.data import DataSet
from normzoo_bench.insights.layers import Layer, layers_of
from normzoo_bench.insights.shifts import Moments, input_shift, moments, shifts
from normzoo_bench.insights.watched import Held, distance, steps_of, while_training
from normzoo_bench.result import CannotRun, Result
from normzoo_bench.seeds import stream, torch_seed
from normzoo_suites.settings import CovariateShiftSettings

SAMPLES = 256
"""Training samples whose way through the net is followed, at least, in whole batches; all where there are fewer."""


def measure(cells: Sequence[CovariateShiftSettings], data: DataSet) -> list[Ended]:
    """Train once, and look at the layers for every cell."""
    return while_training(cells, data, CovariateShift)


def chosen(layers: list[Layer], depth: str) -> list[Layer]:
    """Pick the layers that are looked at.

    Raises:
        CannotRun: when there is no layer with another before it.

    """
    if len(layers) < 2:
        raise CannotRun(
            f"the model has {len(layers)} convolution or linear layer, and covariate shift is what earlier layers "
            "do to later ones"
        )
    return {"all": layers[1:], "middle": [layers[len(layers) // 2]], "last": layers[-1:]}[depth]


def _fixed(run: Run) -> list[Tensor]:
    """Draw the samples that are followed, unaugmented, in whole batches of the training's size."""
    size = run.settings.batch_size
    count = min(-(-SAMPLES // size), len(run.train) // size)
    draw = torch.from_numpy(stream(run.settings.seed, "covariate shift").permutation(len(run.train))[: count * size])
    return [run.train.batch(own)[0] for own in draw.to(run.train.labels.device).split(size)]


@dataclass
class CovariateShift:
    """Looks at the layers around every k-th step, and at their inputs after the last one, too."""

    run: Run
    settings: CovariateShiftSettings
    gradients: dict[int, Tensor] = field(default_factory=dict)  # by step, [layers, 3]
    inputs: dict[int, Moments] = field(default_factory=dict)  # by the steps taken before

    def __post_init__(self) -> None:
        self.every, self.last = distance(self.run, self.settings.every), steps_of(self.run) - 1
        self.fixed = _fixed(self.run)
        self.layers = chosen(layers_of(self._copy(), self.fixed[0]), self.settings.depth)
        self._held: Held | None = None

    def before(self, step: int) -> None:
        """Hold the net and the batch that this step will take."""
        if step % self.every == 0:
            self._held = Held.of(self.run)
            self.inputs[step] = self._moments()

    def after(self, step: int) -> None:
        """Have the earlier layers take their step, alone, for each layer."""
        if self._held is not None:
            self.gradients[step] = shifts(self._held, self.run.training.model, self.layers)
            self._held = None
        if step == self.last:
            self.inputs[step + 1] = self._moments()

    def result(self) -> Result:
        """Give means over looks and layers, and each look's.

        Raises:
            CannotRun: when no layer had a gradient, or an input that varied, or when one was not finite.

        """
        turned = torch.stack(list(self.gradients.values()))
        if not (turned[..., 0].isfinite().all() and all(_finite(one) for one in self.inputs.values())):
            raise CannotRun("a layer's input or gradient is not finite where it was looked at")
        steps = list(self.inputs)
        moved = torch.stack([_moved(self.inputs[a], self.inputs[b]) for a, b in itertools.pairwise(steps)])
        names = ("input_shift", "input_mean_shift", "input_deviation_shift")
        metrics = dict(zip(names, _means(moved, "input of a layer that varies"), strict=True))
        names = ("gradient_shift_l2", "gradient_shift_relative", "gradient_shift_cosine")
        metrics |= dict(zip(names, _means(turned, "layer with a gradient"), strict=True))
        samples = _samples("input", steps[1:], moved[..., :1], ("shift",))
        samples |= _samples("gradient", list(self.gradients), turned, ("shift_l2", "shift_relative", "shift_cosine"))
        return Result(metrics, dict(self.run.training.series), samples, options=self.run.options)

    def _copy(self) -> nn.Module:
        return copy.deepcopy(self.run.training.model)

    def _moments(self) -> Moments:
        seed = torch_seed(self.settings.seed, "looks")
        return moments(self._copy(), [one.name for one in self.layers], self.fixed, seed)


def _finite(seen: Moments) -> bool:
    return all(bool(one.isfinite().all()) for both in seen for one in both)


def _moved(before: Moments, after: Moments) -> Tensor:
    return torch.stack([input_shift(old, new) for old, new in zip(before, after, strict=True)])


def _means(values: Tensor, of: str) -> list[float]:
    """Give the means of [looks, layers, 3] over looks and layers; NaN is where there was nothing to see."""
    if values.isnan().all(0).all(0).any():
        raise CannotRun(f"there was no {of}")
    return [float(one) for one in values.nanmean((0, 1))]


def _samples(of: str, steps: Sequence[int], values: Tensor, names: Sequence[str]) -> dict[str, list[float]]:
    """Give the means of each look over its layers, and of each layer over the looks."""
    found = {f"{of}_step": [float(step) for step in steps]}
    for number, name in enumerate(names):
        own = values[..., number]
        found |= {f"{of}_{name}": own.nanmean(1).tolist(), f"{of}_{name}_by_layer": own.nanmean(0).tolist()}
    return found
