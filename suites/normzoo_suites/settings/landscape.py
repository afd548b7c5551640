"""The settings of ``landscape``: how loss and gradient change along the gradient, while a net trains."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from normzoo_suites.fields import LARGEST, Gain
from normzoo_suites.settings.training import TrainingSettings


class LandscapeSettings(TrainingSettings):
    """A training, and the looks along its gradients.

    Attributes:
        every: steps from one look to the next, the first before the first step; 0 is a tenth of the training.
        reach: the longest step that is tried along a gradient, in learning rates (the highest of the schedule).

    """

    READ_AFTERWARDS: ClassVar[frozenset[str]] = frozenset({"every", "reach"})
    METRICS: ClassVar[tuple[str, ...]] = (
        "loss_range",
        "gradient_change",
        "effective_smoothness",
        "loss_range_relative",
        "gradient_change_relative",
        "rising_share",
        "loss_range_largest",
        "gradient_change_largest",
        "effective_smoothness_largest",
        "line_gradient_norm",
    )

    every: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    reach: Gain = 4.0
