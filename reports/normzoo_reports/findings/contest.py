"""Who is ahead under a condition: said only as far as paired differences allow, and corrected for having looked.

That one of k normalizers has the highest mean is no finding, for one of them always has. So each could be the highest
one under each condition: these are the hypotheses, one for every normalizer and condition of a run. Each is tested by
the largest of the p-values of its comparisons, since all of them must hold (Berger 1982, Technometrics 24, the
intersection-union test), and Holm's correction runs over all hypotheses of the run: where nothing differs, at most
one run in 20 names anyone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from normzoo_reports import words
from normzoo_reports.statistics.signs import holm, sign_flip
from normzoo_suites.claims import ALPHA


@dataclass(frozen=True)
class Entrant:
    """A normalizer under one condition, or several that are the same computation by design.

    Attributes:
        names: what it is called.
        values: the metric by seed or repeat.
        diverged: the seeds whose value is that of chance, for their run diverged.
        missing: the seeds that gave no value.

    """

    names: tuple[str, ...]
    values: dict[int, float]
    diverged: frozenset[int] = frozenset()
    missing: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """What a sentence calls it; the control, whose name reads as nobody's, is said to be one."""
        told = words.listed("none (the control)" if name == "none" else name for name in self.names)
        return told if len(self.names) == 1 else f"{told} (one computation)"

    @property
    def mean(self) -> float:
        """The mean over what was measured."""
        return math.fsum(self.values.values()) / len(self.values)


@dataclass(frozen=True)
class Contest:
    """Entrants under one condition, the one with the leading mean first.

    Attributes:
        condition: in words.
        entrants: at least one.
        p: for every entrant but the first, the p-value of its being behind the first; 1 where that cannot be told.
        pairs: how many seeds the first and each other one have in common.
        without: who has no value at all.

    """

    condition: str
    entrants: tuple[Entrant, ...]
    p: tuple[float, ...]
    pairs: tuple[int, ...]
    without: tuple[str, ...] = ()

    @property
    def first(self) -> Entrant:
        """Whose mean leads."""
        return self.entrants[0]

    def of(self, names: tuple[str, ...]) -> Entrant:
        """Give the entrant that is called so."""
        return next(one for one in self.entrants if one.names == names)

    @property
    def n(self) -> int:
        """The fewest pairs of a comparison that can be made; 0 where none can."""
        told = zip(self.entrants[1:], self.pairs, strict=True)
        return min((pairs for other, pairs in told if differences(self.first, other) is not None), default=0)

    @property
    def comparisons(self) -> int:
        """How many comparisons of two, both ways, could have been made."""
        return len(self.entrants) * (len(self.entrants) - 1)

    def behind(self) -> list[Entrant]:
        """Give who is behind the first: one-sided, with Holm's correction over all comparisons here, both ways.

        Comparisons among the others are no findings here; with p = 1 they make the correction stricter, never looser.
        """
        adjusted = holm([*self.p, *[1.0] * (self.comparisons - len(self.p))])
        return [other for other, p in zip(self.entrants[1:], adjusted, strict=False) if p <= ALPHA]


def contest(condition: str, entrants: Sequence[Entrant], sign: int = 1) -> Contest:
    """Compare entrants with the one whose mean is highest, or with ``sign = -1`` lowest; some must have a value."""
    running = sorted((one for one in entrants if one.values), key=lambda one: -sign * one.mean)
    first, *others = running
    gaps = [differences(first, other) for other in others]
    p = [sign_flip([sign * gap for gap in found])[0] if found else 1.0 for found in gaps]
    without = tuple(name for one in entrants if not one.values for name in one.names)
    return Contest(condition, tuple(running), tuple(p), tuple(len(_common(first, one)) for one in others), without)


def differences(one: Entrant, other: Entrant) -> list[float] | None:
    """Give what one has more than the other, seed by seed.

    None where they have no seed in common, where one has no value of a common seed, and where both diverged in one:
    chance less chance says nothing of either.
    """
    seeds = _common(one, other)
    if not seeds or (one.missing | other.missing) & seeds or one.diverged & other.diverged & seeds:
        return None
    return [one.values[seed] - other.values[seed] for seed in sorted(seeds)]


def named(contests: Sequence[Contest]) -> list[bool]:
    """Tell of each contest whether its first entrant may be named as ahead of all others there."""
    told = [max(one.p) for one in contests if one.p]
    # that another one leads is a hypothesis as well, of which the p-value can only be large
    adjusted = iter(holm([*told, *[1.0] * (candidates(contests) - len(told))]))
    return [bool(one.p) and next(adjusted) <= ALPHA for one in contests]


def candidates(contests: Sequence[Contest]) -> int:
    """Count who could have been named: the family of `named`."""
    return sum(len(one.entrants) for one in contests if len(one.entrants) > 1)


def pairs_needed(hypotheses: int) -> int:
    """Give the fewest pairs with which one of so many one-sided hypotheses can be shown, after Holm's correction."""
    return math.ceil(math.log2(max(hypotheses, 1) / ALPHA))


def _common(one: Entrant, other: Entrant) -> frozenset[int]:
    return frozenset({*one.values, *one.missing} & {*other.values, *other.missing})
