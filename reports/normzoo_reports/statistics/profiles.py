"""Performance profiles: how often a normalizer is how good, over many layers or many runs.

Of times: the share of problems on which a solver is within a factor τ of the best one there (Dolan & Moré 2002,
doi:10.1007/s101070100263). Of scores: the share of runs with a score above τ (Agarwal et al. 2021, arXiv:2108.13264).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 1000
_SEED = 20150211  # fixed, so that the same records always give the same page
_ROUNDING = 1e-9


def to_best(times: Floats) -> Floats:
    """Give every time, [problems, solvers], as a multiple of the best one of its problem; a failure is infinite.

    Raises:
        ValueError: when nobody solved a problem: there is no best.

    """
    best = times.min(axis=1, keepdims=True)
    if not np.isfinite(best).all():
        raise ValueError("a performance profile needs problems that somebody solved, got one that nobody did")
    return np.asarray(times / best)


def within(ratios: Floats, factor: float) -> int:
    """Count the problems on which a solver, with these multiples of the best times, is within a factor."""
    return int(np.count_nonzero(ratios <= factor * (1 + _ROUNDING)))


def above(scores: Floats, levels: Floats) -> Floats:
    """Give the share of runs whose score is above each level; scores are [seeds, conditions]."""
    return np.asarray((scores[:, :, None] > levels).mean(axis=(0, 1)))


def band(scores: Floats, levels: Floats) -> tuple[Floats, Floats]:
    """Give the 95 % band of the shares above each level, for every level by itself: a bootstrap over seeds.

    Agarwal et al. draw the runs of each task anew, for theirs are independent. Under one of our seeds all conditions
    share the data, the order and the first weights, so that a seed is drawn with all its conditions. With a handful of
    seeds such a band is too narrow: of 10, it holds the truth in about nine of ten cases.
    """
    by_seed = (scores[:, :, None] > levels).mean(axis=1)
    seeds = len(by_seed)
    drawn = np.random.default_rng(_SEED).multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS) / seeds
    low, high = np.percentile(drawn @ by_seed, (2.5, 97.5), axis=0)
    return low, high
