"""Batch effects: what every rank's part of a step has to itself, a shift and a scale of all its pixels.

It is either a nuisance, as when every exam year is marked on a scale of its own, or the very thing that is asked. A
statistic over the part removes it in both cases, from the inside of an image: where a convolution pads with zeros, the
border still tells it apart. Samples of one part share an effect, unless ``by=sample``: the control
in which each sample has its own, so that parts are mixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normzoo_bench.errors import UsageError
from normzoo_bench.options import Known, number, read, word
from normzoo_suites.settings import AccuracySettings

LARGEST = 100  # standard deviations


@dataclass(frozen=True)
class Effects:
    """What one draw of effects does to standardized images: each becomes scale · image + shift.

    Attributes:
        shift: deviation of a nuisance's shift, or the largest of a signal's, in deviations of the data.
        scale: deviation of the logarithm of a nuisance's scale.
        signal: whether the label is the shift, one of as many levels as there are classes, −shift to +shift.
        by_part: whether a part's samples share one draw.

    """

    shift: float = 0.0
    scale: float = 0.0
    signal: bool = False
    by_part: bool = True

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return self.shift > 0 or self.scale > 0

    def draw(
        self, draw: np.random.Generator, steps: int, ranks: int, local: int, classes: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Draw for steps of ``ranks`` parts: scale and shift [steps, ranks · local, 2], and levels without the last 2.

        Position i of a step belongs to rank i mod ranks.
        """
        shape = (steps, ranks) if self.by_part else (steps, ranks * local)
        levels = draw.integers(0, classes, shape)
        if self.signal:
            drawn = np.stack([np.ones(shape), self.shift * (2 * levels / max(1, classes - 1) - 1)], axis=-1)
        else:
            normal = draw.standard_normal((2, *shape))
            drawn = np.stack([np.exp(self.scale * normal[0]), self.shift * normal[1]], axis=-1)
        if self.by_part:
            drawn, levels = np.tile(drawn, (1, local, 1)), np.tile(levels, (1, local))
        return drawn.astype(np.float32), levels


def effects(text: str) -> Effects:
    """Give the effects that a setting names.

    Raises:
        UsageError: for unknown ones, or an option that they do not have or take.

    """
    call = read("effects", text, _KNOWN)
    if call.name == "none":
        return Effects()
    shift, scale = (float(call.options.get(name, 0)) for name in ("shift", "scale"))
    return Effects(shift, scale, signal=call.name == "signal", by_part=call.options["by"] == "part")


def check(settings: AccuracySettings) -> None:
    """Require effects that exist and go with the other settings.

    Raises:
        UsageError: otherwise.

    """
    effects(settings.effects)
    if settings.effects == "none":
        return
    alone = {"split": "iid", "dealing": "shuffled", "draw": "iid", "data": "resident", "local_epochs": 0}
    alone |= {"eval_batch_size": 0}  # what is read shares effects as training does
    for key, plain in alone.items():
        if (got := getattr(settings, key)) != plain:
            raise UsageError(f"effects {settings.effects} need {key} {plain}, got {got}: one thing at a time")


_KNOWN: Known = {
    "none": {},
    "nuisance": {
        "shift": number(1.0, most=LARGEST, least=0),
        "scale": number(0.5, most=LARGEST, least=0),
        "by": word("part", "sample"),
    },
    "signal": {"shift": number(3.0, most=LARGEST), "by": word("part", "sample")},
}
