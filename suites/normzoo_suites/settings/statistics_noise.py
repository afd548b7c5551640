"""The settings of ``statistics_noise``: how far a batch's statistics are from those of the data."""

from __future__ import annotations

from typing import ClassVar, Literal

from normzoo_suites.fields import Count
from normzoo_suites.settings.training import TrainingSettings


class StatisticsNoiseSettings(TrainingSettings):
    """A trained net, and the batches whose statistics are held against those of the whole training part.

    Attributes:
        samples: that share one statistic.
        depth: which of the net's norm layers they enter, in the order of the net.

    """

    READ_AFTERWARDS: ClassVar[frozenset[str]] = frozenset({"samples", "depth"})
    METRICS: ClassVar[tuple[str, ...]] = (
        "mean_error",
        "variance_error",
        "mean_error_scaled",
        "variance_error_scaled",
        "r_p05",
        "r_p95",
        "d_p95",
        "clipped_share",
    )

    samples: Count
    depth: Literal["first", "middle", "last"] = "middle"
