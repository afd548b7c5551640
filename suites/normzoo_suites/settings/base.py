"""What every measure's settings share."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict

from normzoo_suites.fields import CallText


class Settings(BaseModel):
    """What every measure shares: which normalizer, on what kind of device.

    Attributes:
        REPLICATES: the setting that tells repeats of one experiment apart, and pairs them.
        READ_AFTERWARDS: the settings that a training does not see: cells that differ in these alone share one.
        METRICS: every number that the measure gives, spelt once: what claims and figures may speak of. Units stand in
            the names, and no two measures share one: a metric tells what was measured.

    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    REPLICATES: ClassVar[Literal["seed", "repeat"]]
    READ_AFTERWARDS: ClassVar[frozenset[str]] = frozenset()
    METRICS: ClassVar[tuple[str, ...]]

    normalizer: CallText
    device: Literal["cpu", "cuda"] = "cpu"

    @classmethod
    def all_but(cls, *keys: str) -> Callable[[Settings], object]:
        """Give what reads all settings but these, so that those which are alike otherwise can be found together."""
        return operator.attrgetter(*(key for key in cls.model_fields if key not in keys))

    def repeated(self, number: int) -> Self:
        """Give another repeat of the same experiment; a repeat of a valid one is valid, for nothing is held to it."""
        return self.model_copy(update={self.REPLICATES: number})

    @property
    def replicate(self) -> int:
        """Which of the repeats of one experiment this is: its seed, or its process."""
        return int(getattr(self, self.REPLICATES))


def divisors(number: int) -> list[int]:
    """Give all divisors of a number, in order."""
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})
