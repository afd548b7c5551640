"""A verdict on a claim, as plain data. Light, like `results.py`: it is imported with the package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from normzoo_reports import words

if TYPE_CHECKING:
    from normzoo_reports.statistics.power import Needed
    from normzoo_suites import Claim

Outcome = Literal["supported", "refuted", "inconclusive", "not asked"]


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
        differences: the claim's difference in every pair that has one, in the order of seeds.
        needed: how many pairs would have decided an inconclusive claim, were the true differences like these; None with
            fewer than 3 pairs, and where pairs are missing.

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
    differences: tuple[float, ...] = ()
    needed: Needed | None = None

    @property
    def effect_text(self) -> str:
        """The effect with its interval and n: "+36.1 points [+34.9, +37.4], n = 10", and what diverged."""
        if self.effect is None:
            return ""
        metric = self.claim.metric
        spread = (
            words.show_change_range(metric, self.low, self.high)
            if self.low is not None and self.high is not None
            else ""
        )
        told = f"{words.show_change(metric, self.effect)} {spread}".rstrip() + f", n = {self.n}"
        return told + (f"; {self.diverged} of {self.n} pairs hold a diverged run" if self.diverged else "")

    @property
    def needed_text(self) -> str:
        """How many pairs it would have needed, or nothing: "would have needed about 34 pairs to be supported"."""
        return self.needed.text if self.needed else ""

    @property
    def published_effect(self) -> str:
        """The published effect, or nothing where none is known: "+11.1 points"."""
        published = self.claim.published
        return words.show_change(self.claim.metric, published.effect) if published else ""

    @property
    def published_sign(self) -> str:
        """How the published effect's sign compares with the measured one's: "same sign", "other sign" or "not decided".

        Sizes are never compared: the published one is of other data. It is not decided where the measured interval
        holds 0 or there is none, where pairs are missing, and where the published effect is 0.
        """
        published = self.claim.published
        if published is None:
            return ""
        if self.low is None or self.high is None or self.missing or self.low <= 0 <= self.high or not published.effect:
            return "not decided"
        return "same sign" if (self.low > 0) == (published.effect > 0) else "other sign"

    @property
    def published_text(self) -> str:
        """The published effect and what it is worth: "+11.1 points on ImageNet (read off a figure): same sign"."""
        published = self.claim.published
        if published is None:
            return ""
        grade = words.GRADES[published.grade]
        return f"{self.published_effect} on {published.on} ({grade}): {self.published_sign}"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that the claim's sides speak of."""
        return tuple(dict.fromkeys(term.metric for term in self.claim.terms))

    @property
    def sides(self) -> str:
        """What is subtracted from what: "batch_norm (ranks 1) less batch_norm (ranks 20)"."""
        told: dict[int, list[str]] = {1: [], -1: []}
        for term in self.claim.terms:
            reading = f" ({term.metric})" if term.metric != self.claim.metric else ""
            # one by one, for here a default tells the sides apart
            others = [words.condition(term.settings, [key]) for key in term.settings if key != "normalizer"]
            where = f" ({', '.join(others)})" if others else ""
            told[term.sign].append(f"{term.settings.get('normalizer', 'each')}{where}{reading}")
        unit = "; as a share of batch norm's time" if "ratio" in self.claim.metric else ""
        return f"{' plus '.join(told[1])} less {' and less '.join(told[-1])}{unit}"

    @property
    def asks(self) -> str:
        """What would make the claim true: "more than +1.0 points"."""
        margin = words.show_change(self.claim.metric, self.claim.margin)
        return f"more than {margin}" if self.claim.is_ == "higher" else f"within ± {margin.removeprefix('+')}"
