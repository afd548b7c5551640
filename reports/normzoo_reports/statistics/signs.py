"""Exact statistics for a handful of paired seeds: the sign-flip test, the interval that inverts it, Holm's correction.

Under one seed every normalizer sees the same data and weights, so each seed gives one difference. If the true mean
difference is ``center`` and differences scatter symmetrically, each ``value - center`` could as well have had the
other sign; the test counts how many of these 2ⁿ worlds look as extreme as ours (Fisher 1935, The Design of
Experiments, section 21). No normal distribution is assumed, which ten seeds could not check.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 16
RANDOM_FLIPS = 100_000
INTERVAL_FROM = 6  # the first n with ⌊0.025·2ⁿ⌋ ≥ 1
BCA_FROM = 20
_SEED = 20150211  # fixed, so that the same records always give the same page
_CHUNK = 1_000_000  # signs at a time: all of them at once would take 80 MB at n = 100
# Accuracies are fractions of a few hundred images: what differs by less than this differs by rounding alone.
_TIE = 1e-11

Floats = NDArray[np.float64]


def sign_flip(values: Sequence[float], center: float = 0.0) -> tuple[float, float]:
    """Test the mean of paired differences: the p-values of "mean > center" and of "mean < center".

    All 2ⁿ flips up to n = 16, else 100,000 random ones with the identity among them. The smallest p is 2⁻ⁿ (or 1e-5).
    Ties count as extreme, to within rounding.

    Raises:
        ValueError: when there are no values.

    """
    if not len(values):
        raise ValueError("a sign-flip test needs at least 1 value, got none")
    given = np.asarray(values, dtype=np.float64)
    tolerance = _TIE * max(float(np.abs(given).max()), abs(center)) * len(given)
    shifted = given - center
    sums = _exact_sums(shifted) if len(given) <= EXACT_UP_TO else _random_sums(shifted)
    observed = float(shifted.sum())
    above = np.count_nonzero(sums >= observed - tolerance) / len(sums)
    below = np.count_nonzero(sums <= observed + tolerance) / len(sums)
    return above, below


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Give the 95 % interval of the mean, or None when there are too few values for one (below 6).

    It holds the centers that neither one-sided sign-flip test rejects at 2.5 %: of the 2ⁿ - 1 means of non-empty
    subsets in order, the ⌊0.025·2ⁿ⌋-th from each end (Hartigan 1969, doi:10.1080/01621459.1969.10501057).
    From n = 20 it is the BCa bootstrap; below that BCa covers 83 to 90 %, and it is undefined for equal values.
    """
    given = np.asarray(values, dtype=np.float64)
    if len(given) < INTERVAL_FROM:
        return None
    if np.ptp(given) == 0:
        return float(given[0]), float(given[0])
    if len(given) >= BCA_FROM:  # before any 2ⁿ, which no float holds from n = 1024
        return _bca(given)
    rank = math.floor(0.025 * 2 ** len(given))
    means = _subset_sums(given)[1:] / _subset_sums(np.ones(len(given)))[1:]
    means = np.partition(means, (rank - 1, len(means) - rank))  # a sort of 2ⁿ would take most of the time
    return float(means[rank - 1]), float(means[-rank])


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct for several tests (Holm 1979): the adjusted p-values, in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _subset_sums(values: Floats) -> Floats:
    """Sum every subset, the empty one first: 2ⁿ sums by n doublings."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums


def _exact_sums(values: Floats) -> Floats:
    # a flip of the subset S takes off twice its sum
    return np.asarray(values.sum() - 2 * _subset_sums(values))


def _random_sums(values: Floats) -> Floats:
    generator = np.random.default_rng(_SEED)
    sums = [np.array([values.sum()])]
    most = max(1, _CHUNK // len(values))
    for start in range(0, RANDOM_FLIPS - 1, most):
        rows = min(most, RANDOM_FLIPS - 1 - start)
        sums.append(generator.choice((-1.0, 1.0), size=(rows, len(values))) @ values)
    return np.concatenate(sums)


def _bca(values: Floats) -> tuple[float, float]:
    from scipy import stats  # half a second, and few runs have 20 seeds

    found = stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(_SEED)).confidence_interval
    return float(found.low), float(found.high)
