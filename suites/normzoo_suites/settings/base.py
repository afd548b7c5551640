"""What every measure's settings share."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from normzoo_suites.fields import CallText


class Settings(BaseModel):
    """What every measure shares: which normalizer, on what kind of device.

    ``REPLICATES`` names the setting that tells repeats of one experiment apart, and pairs them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    REPLICATES: ClassVar[Literal["seed", "repeat"]]

    normalizer: CallText
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def replicate(self) -> int:
        """Which of the repeats of one experiment this is: its seed, or its process."""
        return int(getattr(self, self.REPLICATES))


def divisors(number: int) -> list[int]:
    """Give all divisors of a number, in order."""
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})
