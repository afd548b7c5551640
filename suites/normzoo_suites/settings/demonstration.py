"""The settings of ``demonstration``: what one layer does, in numbers that are exact."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from normzoo_suites.errors import SuiteError
from normzoo_suites.fields import Count, Gain
from normzoo_suites.settings.base import Settings

SHOWN: dict[str, tuple[str, ...]] = {
    "bias_gradient": ("bias_gradient",),
    "undone": ("undone_error", "undone_error_at_best"),
    "running_mean": ("running_mean", "constant_in_training", "constant_in_eval"),
    "one_sample": ("refuses_one_sample", "refuses_one_sample_in_eval", "left_of_two_alike"),
    "two_batches": ("means_apart_before", "means_apart_after", "means_apart_in_eval"),
    "scale": ("scaled_output_change", "scaled_gradient"),
}
"""By what is shown, the metrics that it gives."""


class DemonstrationSettings(Settings):
    """One layer, and a batch that shows what it does; nothing is trained.

    Attributes:
        shows: what is demonstrated; see ``bench/README.md``.
        batch_size: samples of the batch, where what is shown has none of its own.
        passes: forward passes of the batch that ``running_mean`` repeats.
        factor: what ``scale`` multiplies the weights before the layer with.
        seed: draws what enters.

    """

    REPLICATES: ClassVar[Literal["seed", "repeat"]] = "seed"
    METRICS: ClassVar[tuple[str, ...]] = tuple(metric for metrics in SHOWN.values() for metric in metrics)

    shows: Literal["bias_gradient", "undone", "running_mean", "one_sample", "two_batches", "scale"]
    batch_size: Count
    passes: Count = 3
    factor: Gain = 2.0
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0

    @model_validator(mode="after")
    def _options_are_of_what_is_shown(self) -> DemonstrationSettings:
        for key, owner in (("passes", "running_mean"), ("factor", "scale")):
            if getattr(self, key) != type(self).model_fields[key].default and self.shows != owner:
                raise SuiteError(f'{key} is of shows = "{owner}", got shows = "{self.shows}"', (key,))
        return self
