"""The settings of ``covariate_shift``: how far what a layer sees moves while a net trains."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from normzoo_suites.fields import LARGEST
from normzoo_suites.settings.training import TrainingSettings


class CovariateShiftSettings(TrainingSettings):
    """A training, and the looks at its layers: convolutions and linear layers, in the order in which they are called.

    Attributes:
        every: steps from one look to the next, the first before the first step; 0 is a tenth of the training.
        depth: which layers are looked at: ``all`` but the first, which has none before it, or one of them.

    """

    READ_AFTERWARDS: ClassVar[frozenset[str]] = frozenset({"every", "depth"})
    METRICS: ClassVar[tuple[str, ...]] = (
        "input_shift",
        "input_mean_shift",
        "input_deviation_shift",
        "gradient_shift_l2",
        "gradient_shift_relative",
        "gradient_shift_cosine",
    )

    every: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    depth: Literal["all", "middle", "last"] = "all"
