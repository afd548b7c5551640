"""What a report has to tell, as plain data: the page and the command line's table are made of these.

This module is light on purpose: it is imported with the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from normzoo_reports import words

if TYPE_CHECKING:
    from normzoo_suites import Claim

Outcome = Literal["supported", "refuted", "inconclusive", "not asked"]


@dataclass(frozen=True)
class Estimate:
    """A metric under one condition.

    Attributes:
        metric: what it is.
        value: the mean over seeds, or the median of one process's samples.
        low: the lower end of the 95 % interval of the mean, or the samples' 10th percentile; None with too few seeds.
        high: the upper end likewise.
        n: how many seeds (or samples) it rests on.
        over: what ``n`` counts.
        diverged: how many of them diverged and count with chance accuracy.
        absent: how many cells of this condition gave no value.
        same_as: the cell that is the same computation by design, in words, or empty.

    """

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    over: Literal["seed", "cell", "sample"]
    diverged: int = 0
    absent: int = 0
    same_as: str = ""

    @property
    def text(self) -> str:
        """The value and its interval: "97.8 % [97.2, 98.3]"."""
        return f"{self.point} {self.range}".rstrip()

    @property
    def point(self) -> str:
        """The value alone: "97.8 %"."""
        return words.show(self.metric, self.value)

    @property
    def range(self) -> str:
        """The interval alone, or nothing."""
        return (
            words.show_range(self.metric, self.low, self.high) if self.low is not None and self.high is not None else ""
        )

    @property
    def notes(self) -> list[str]:
        """What a reader must know of it besides the number."""
        return [
            words.count(self.n, self.over),
            *([f"{self.diverged} diverged, counted as chance"] if self.diverged else []),
            *([f"{self.absent} without a value"] if self.absent else []),
            *([f"same computation as {self.same_as}"] if self.same_as else []),
        ]


@dataclass(frozen=True)
class Pivot:
    """A table of ``metric``: one row per normalizer, one column per condition, told apart by what ``by`` names.

    A text in place of an estimate says why there is none.
    """

    metric: str
    by: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Estimate | str, ...]], ...]


@dataclass(frozen=True)
class Verdict:
    """What a run says of one claim.

    Attributes:
        claim: the claim.
        outcome: ``supported``, ``refuted``, ``inconclusive`` or ``not asked``.
        reason: why it is neither supported nor refuted, in words.
        effect: the mean difference over the pairs that have one, in the metric's unit.
        low: the lower end of its 95 % interval, for this claim alone; None with fewer than 6 pairs.
        high: the upper end likewise.
        n: how many pairs it rests on.
        p_for: the p-value for the claim after Holm's correction.
        p_against: the p-value for its opposite after Holm's correction.
        raw_p_for: the same before the correction.
        raw_p_against: the same before the correction.
        diverged: how many pairs hold a diverged run, which counts with chance accuracy.
        missing: why pairs have no value, and under which seeds.
        pairs_missing: how many have none.

    """

    claim: Claim
    outcome: Outcome
    reason: str = ""
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    p_for: float | None = None
    p_against: float | None = None
    raw_p_for: float | None = None
    raw_p_against: float | None = None
    diverged: int = 0
    missing: tuple[str, ...] = ()
    pairs_missing: int = 0

    @property
    def effect_text(self) -> str:
        """The effect with its interval and n: "+36.1 points [+34.9, +37.4], n = 10"."""
        if self.effect is None:
            return ""
        metric = self.claim.metric
        spread = (
            words.show_change_range(metric, self.low, self.high)
            if self.low is not None and self.high is not None
            else ""
        )
        return f"{words.show_change(metric, self.effect)} {spread}".rstrip() + f", n = {self.n}"

    @property
    def asks(self) -> str:
        """What would make the claim true: "more than +1.0 points"."""
        margin = words.show_change(self.claim.metric, self.claim.margin)
        return f"more than {margin}" if self.claim.is_ == "higher" else f"within ± {margin.removeprefix('+')}"

    @property
    def text(self) -> str:
        """One line for a terminal."""
        rest = "; ".join(part for part in (self.effect_text, self.reason) if part)
        return f"{self.outcome}: {self.claim.says}" + (f" ({rest})" if rest else "")


@dataclass(frozen=True)
class Speed:
    """One normalizer's time as a multiple of batch norm's, over all measured layers.

    ``ratio`` is the geometric mean of the cells' median ratios, ``low`` and ``high`` their smallest and largest.
    """

    normalizer: str
    ratio: float
    low: float
    high: float
    cells: int

    @property
    def text(self) -> str:
        """For example "1.62× (1.41–1.85)"."""
        return f"{self.ratio:.2f}×" + (f" ({self.low:.2f}–{self.high:.2f})" if self.cells > 1 else "")


@dataclass(frozen=True)
class Summary:
    """A run in a few rows: accuracy by condition (None where none was measured), speed, verdicts, cells by status.

    ``statuses`` leaves out the cells that are the same computation as another by design; ``same`` counts them.
    """

    suite: str
    question: str
    accuracy: Pivot | None
    speed: tuple[Speed, ...]
    verdicts: tuple[Verdict, ...]
    statuses: dict[str, int]
    same: int
