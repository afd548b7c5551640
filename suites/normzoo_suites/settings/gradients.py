"""The settings of ``gradients``: how gradients change from layer to layer, and whether a net trains at all."""

from __future__ import annotations

from typing import ClassVar

from normzoo_suites.fields import Count
from normzoo_suites.settings.training import TrainingSettings


class GradientsSettings(TrainingSettings):
    """A training, and its gradients by layer at the start and after some steps.

    Attributes:
        after: steps before the second look; the whole training where it has fewer.

    """

    READ_AFTERWARDS: ClassVar[frozenset[str]] = frozenset({"after"})
    METRICS: ClassVar[tuple[str, ...]] = (
        "trained",
        "final_accuracy",
        "gradient_decades_start",
        "gradient_decades_after",
        "weight_gradient_decades_start",
        "weight_gradient_decades_after",
        "vanishing",
        "exploding",
    )

    after: Count = 100
