"""The measure ``demonstration``: what one layer does to one batch, in float64 and without training."""

from __future__ import annotations

from collections.abc import Callable

from normzoo import TooFewValuesError
from normzoo_bench.insights import probes
from normzoo_bench.result import CannotRun, Result
from normzoo_suites.settings import DemonstrationSettings

PROBES: dict[str, Callable[[DemonstrationSettings], dict[str, float]]] = {
    "bias_gradient": probes.bias_gradient,
    "undone": probes.undone,
    "running_mean": probes.running_mean,
    "one_sample": probes.one_sample,
    "two_batches": probes.two_batches,
    "scale": probes.scale,
}
"""By what is shown, the function that gives its numbers."""


def measure(settings: DemonstrationSettings) -> Result:
    """Give the numbers of what is shown.

    Raises:
        CannotRun: where the normalizer has not what is shown, or refuses the batch.

    """
    try:
        metrics = PROBES[settings.shows](settings)
    except TooFewValuesError as error:
        raise CannotRun(str(error)) from None
    return Result(metrics, options=probes.options(settings))
