"""The settings of ``convergence``: how soon a net reaches what one without normalization does, and at which rates."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from normzoo_suites.errors import SuiteError
from normzoo_suites.fields import LARGEST_RATE, Count, Gain
from normzoo_suites.settings.training import TrainingSettings


class ConvergenceSettings(TrainingSettings):
    """Trainings at multiples of a learning rate.

    Attributes:
        find: ``steps`` to the best test accuracy that ``none`` reaches at ``times = 1``, or the ``highest_rate`` that
            still trains.
        times: what the learning rate is multiplied with; where the highest is looked for, the search starts there.
        every: steps between two tests on the way.

    """

    METRICS: ClassVar[tuple[str, ...]] = (
        "steps_to_target",
        "steps_to_target_log2",
        "reached",
        "target_accuracy",
        "highest_rate_times",
        "highest_rate_log2",
    )

    find: Literal["steps", "highest_rate"] = "steps"
    times: Gain = 1.0
    every: Count = 5

    @model_validator(mode="after")
    def _can_be_found(self) -> ConvergenceSettings:
        if self.rate() * self.times > LARGEST_RATE:
            raise SuiteError(f"learning_rate times {self.times:g} is above {LARGEST_RATE:g}", ("times",))
        if self.find == "highest_rate" and (self.times, self.every) != (1, 5):
            key = "times" if self.times != 1 else "every"
            raise SuiteError(
                f'{key} is of find = "steps"; find = "highest_rate" starts from learning_rate, and tests nothing on '
                "the way",
                (key,),
            )
        return self
