"""How many pairs would have decided a claim that nothing decided, were the true differences like those seen.

The sign-flip test has, for normal differences, nearly the power of Student's t (Hoeffding 1952), if t is held to the
level that n sign patterns can have at all. A simulation in the tests holds this to the test itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from normzoo_reports.statistics.signs import EXACT_UP_TO, RANDOM_FLIPS
from normzoo_suites.claims import ALPHA, seeds_needed

POWER = 0.8
MOST = 200
"""Beyond so many pairs nobody plans: a cell is a training."""

FEWEST = 3
"""Of fewer pairs the scatter is not known at all."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Needed:
    """What it would take to decide a claim.

    Attributes:
        pairs: the fewest pairs with power 0.8, or None where no number up to 200 has it.
        towards: the verdict that they would bring, ``supported`` or ``refuted``; None where the effect seen lies at the
            margin, so that no number of pairs tells.

    """

    pairs: int | None
    towards: Literal["supported", "refuted"] | None

    @property
    def text(self) -> str:
        """The number in a phrase: "would have needed about 34 pairs to be supported"."""
        if self.towards is None:
            return "no number of pairs would have decided it: the effect seen lies at the margin"
        number = f"more than {MOST}" if self.pairs is None else f"about {self.pairs}"
        return f"would have needed {number} pairs to be {self.towards}"


def needed(kind: Literal["higher", "equal"], margin: float, differences: Sequence[float], claims: int) -> Needed | None:
    """Give the fewest pairs at which a new run would decide the claim with power 0.8, or None below 3 pairs.

    It takes the mean and the standard deviation seen for the true ones, differences for normal, and Holm's correction
    at its first and strictest step, 0.05 over twice the suite's ``claims``: as if it decided no other claim. So it is a
    number to plan with and no finding; the mean seen is itself uncertain, and most so where nothing was decided. More
    pairs than those seen are always asked for, since those seen decided nothing.

    Args:
        kind: what the claim says of the mean difference, ``higher`` than the margin or ``equal`` to 0 within it.
        margin: the claim's.
        differences: one per pair.
        claims: how many the suite has.

    """
    if len(differences) < FEWEST:
        return None
    mean = math.fsum(differences) / len(differences)
    towards, distance = _towards(kind, margin, mean)
    if distance <= _ROUNDING * max(map(abs, (margin, *differences))):
        return Needed(None, None)
    spread = float(np.std(differences, ddof=1))
    pairs = np.arange(max(seeds_needed(claims), len(differences) + 1), MOST + 1)
    powers = power(distance, spread, pairs, claims)
    if kind == "equal" and towards == "supported":  # both sides must be rejected: less what the farther one may miss
        powers = powers + power(margin + abs(mean), spread, pairs, claims) - 1
    enough = pairs[powers >= POWER]
    return Needed(int(enough[0]) if len(enough) else None, towards)


def power(distance: float, spread: float, pairs: NDArray[np.int_], claims: int) -> NDArray[np.float64]:
    """Give, by number of pairs, the chance that a one-sided sign-flip test rejects a center so far below the true mean.

    The differences are normal with the standard deviation ``spread``, and p ≤ 0.05 / (2 · claims) rejects.
    """
    from scipy import special  # a fifth of a second, and not every run has such claims

    level = ALPHA / (2 * max(claims, 1))
    patterns = np.where(pairs <= EXACT_UP_TO, 2.0 ** np.minimum(pairs, EXACT_UP_TO), RANDOM_FLIPS)
    counted = np.floor(level * patterns)  # so many patterns may be as extreme as the one seen, itself among them
    if spread <= _ROUNDING * distance:
        return np.where(counted > 0, 1.0, 0.0)
    freedom = pairs - 1.0
    # the middle of the last pattern's share: its end would promise up to a tenth more power where few patterns count
    critical = special.stdtrit(freedom, 1 - np.maximum(counted - 0.5, 0.5) / patterns)
    # from 10 beyond the critical value the power is 1, and the noncentral t's series would give out
    shift = np.minimum(distance / spread * np.sqrt(pairs), critical + 10)
    return np.where(counted > 0, 1 - special.nctdtr(freedom, shift, critical), 0.0)


def _towards(kind: str, margin: float, mean: float) -> tuple[Literal["supported", "refuted"], float]:
    """Give the verdict that the mean points to, and how far it lies beyond the margin in that direction."""
    inside = mean - margin if kind == "higher" else margin - abs(mean)
    return ("supported" if inside > 0 else "refuted"), abs(inside)
