"""The verdict on one limit, as plain data. Light on purpose, like ``results``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from normzoo_reports import words
from normzoo_reports.comparing.results import Change


@dataclass(frozen=True)
class Ruling:
    """What became of one ``--fail-on``.

    Attributes:
        limit: as it was written: "step_ms:+5%".
        broken: the changes that break it, each with why in words.
        doubtful: changes whose mean is beyond the limit while their interval holds "no change".
        compared: how many normalizers and conditions were held against it.
        few: how many of these have fewer than 6 pairs, so that their mean alone decided.
        unpaired: how many cells with a value in A are not among B's, and were not compared.

    """

    limit: str
    broken: tuple[tuple[Change, str], ...]
    doubtful: tuple[tuple[Change, str], ...]
    compared: int
    few: int
    unpaired: int = 0

    @property
    def outcome(self) -> str:
        """``regression`` or ``no regression``."""
        return "regression" if self.broken else "no regression"

    @property
    def text(self) -> str:
        """What it rests on: "in 2 of 12 comparisons", where the mean alone decided, and what the intervals let pass."""
        several = words.count(self.compared, "comparison")
        told = f"in {len(self.broken)} of {several}" if self.broken else f"in {several}"
        if self.few:
            where = "" if self.few == self.compared else f" in {self.few} of them"
            told += f"; the mean alone decided{where}, with fewer than 6 pairs: 6 seeds or repeats give an interval"
        if self.doubtful:
            more = " more" if self.broken else ""
            told += f"; in {len(self.doubtful)}{more} the mean is beyond the limit and the interval holds no change"
        if self.unpaired:
            told += f"; {words.count(self.unpaired, 'cell')} of A not compared, which B does not hold"
        return told

    @property
    def chance(self) -> str:
        """What chance alone would do over so many intervals, in words; empty where fewer than two have one."""
        sure = self.compared - self.few
        if sure < 2:
            return ""
        return (
            f"{sure:,} intervals, none corrected for the others: if nothing had changed, at most "
            f"{words.digits(0.025 * sure)} of them would lie on the bad side by chance"
        )

    def to_json(self) -> dict[str, Any]:
        """Give it for machines."""
        told: dict[str, Any] = {"limit": self.limit, "outcome": self.outcome, "compared": self.compared}
        told["unpaired"] = self.unpaired
        for key, found in (("broken", self.broken), ("doubtful", self.doubtful)):
            told[key] = [
                {"normalizer": one.normalizer, "condition": one.condition, "why": why, "n": one.n} for one, why in found
            ]
        return told | {"by_mean_alone": self.few}
