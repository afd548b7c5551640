"""Several normalizers on several data sets: average ranks, Friedman's test, and Nemenyi's critical difference.

After Demšar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7. A block is what is ranked
within, such as a data set: accuracies of two data sets have no common scale, but places have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from normzoo_suites.claims import ALPHA

TEST_FROM = 5
"""Below so many blocks nothing is tested: of 2 blocks no outcome at all is beyond the critical difference, of 3 and 4
only near unanimity, and the chi-squared distribution is far from that of the statistic."""

_SAME = 12  # digits: means of the same fractions in another order are a tie


@dataclass(frozen=True)
class Ranks:
    """Average ranks, the best first.

    Attributes:
        names: what was ranked.
        average: by name, the average rank over the blocks; 1 is best in every block.
        blocks: how many those are.
        p: of Friedman's test, or None where there are too few blocks, or all is tied.
        critical: the difference of two average ranks from which on they differ at 5 % (Nemenyi), or None without a
            test.
        groups: names that no test tells apart, the largest such sets of neighbours; all of them where Friedman's test
            shows no difference, none without a test.

    """

    names: tuple[str, ...]
    average: tuple[float, ...]
    blocks: int
    p: float | None
    critical: float | None
    groups: tuple[tuple[str, ...], ...]


def places(scores: pd.DataFrame) -> pd.DataFrame:
    """Rank the columns within every row: the highest score has rank 1, equal ones share the mean of their ranks."""
    return scores.round(_SAME).rank(axis=1, ascending=False, method="average")


def rank(scores: pd.DataFrame) -> Ranks:
    """Sum up scores, a row per block and a column per name, without gaps.

    From 5 blocks on Friedman's test (by the chi-squared distribution, which for few blocks is on the safe side) asks
    whether the names differ at all; only then Nemenyi's test of all pairs says which do.
    """
    by_block = places(scores)
    average = by_block.mean().sort_values(kind="stable")
    names = tuple(map(str, average.index))
    values = tuple(map(float, average))
    tied = bool((by_block.nunique(axis=1) == 1).all())
    if len(scores) < TEST_FROM or tied:
        return Ranks(names, values, len(scores), None, None, ())
    from scipy import stats  # takes longer than all the rest, and few runs have 5 data sets

    p = float(stats.friedmanchisquare(*(by_block[name] for name in by_block)).pvalue)
    critical = critical_difference(len(names), len(scores))
    groups = alike(names, values, critical) if p <= ALPHA else (names,)
    return Ranks(names, values, len(scores), p, critical, groups)


def critical_difference(names: int, blocks: int) -> float:
    """Give Nemenyi's critical difference of average ranks at 5 %: q · √(k (k + 1) / 6 N), Demšar 2006, section 3.2.2.

    q is the studentized range of k names with infinitely many degrees of freedom, over √2.
    """
    from scipy import stats

    q = float(stats.studentized_range.ppf(1 - ALPHA, names, math.inf)) / math.sqrt(2)
    return q * math.sqrt(names * (names + 1) / (6 * blocks))


def alike(names: Sequence[str], average: Sequence[float], critical: float) -> tuple[tuple[str, ...], ...]:
    """Give the largest sets of neighbours, in the order of rank, whose ends differ by less than is critical."""
    found: list[tuple[int, int]] = []
    for first in range(len(names)):
        last = max(other for other in range(first, len(names)) if average[other] - average[first] < critical)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return tuple(tuple(names[first : last + 1]) for first, last in found)
