"""What a report has to tell, as plain data: the page and the command line's table are made of these.

This module is light on purpose: it is imported with the package.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from normzoo_reports import words

if TYPE_CHECKING:
    from normzoo_reports.statistics.power import Needed
    from normzoo_suites import Claim

Outcome = Literal["supported", "refuted", "inconclusive", "not asked"]


@dataclass(frozen=True)
class Estimate:
    """A metric under one condition.

    Attributes:
        metric: what it is.
        value: the mean over seeds or over cells that are no repeats, the median of one process's samples, or the
            geometric mean over layers.
        low: the lower end of the 95 % interval of the mean over seeds, the samples' 10th percentile, or the smallest
            layer's value; None with too few seeds and for a mean over cells, which has no interval.
        high: the upper end likewise.
        n: how many seeds, cells, samples or layers it rests on.
        over: what ``n`` counts.
        diverged: how many of them diverged and count with chance accuracy.
        absent: how many cells of this condition gave no value.
        same_as: the cell that is the same computation by design, in words, or empty.
        cells: the ids of the cells that it sums up.

    """

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    over: Literal["seed", "repeat", "cell", "sample", "layer"]
    diverged: int = 0
    absent: int = 0
    same_as: str = ""
    cells: tuple[str, ...] = ()

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

    def broken_columns(self, room: int) -> list[list[str]]:
        """Give the columns' names in lines of at most so many letters."""
        return [words.broken(column, room) for column in self.columns]

    def parts(self, most: int) -> list[Pivot]:
        """Cut it into tables of at most so many columns, for a place that is too narrow for all of them."""
        return [
            replace(
                self,
                columns=self.columns[start : start + most],
                rows=tuple((name, cells[start : start + most]) for name, cells in self.rows),
            )
            for start in range(0, len(self.columns), most)
        ]


@dataclass(frozen=True)
class Headline:
    """A table with what it shows, in words, and what a reader must know of it, or nothing."""

    title: str
    table: Pivot
    note: str = ""


@dataclass(frozen=True)
class Sentence:
    """One thing that a run found, in words.

    Attributes:
        where: the conditions or the table that it holds for, or empty.
        text: what was found there.
        section: the id of the page's section with the numbers, ``found`` where they stand beside all sentences.

    """

    where: str
    text: str
    section: str

    @property
    def whole(self) -> str:
        """Both in one line."""
        return f"{self.where}: {self.text}" if self.where else self.text


@dataclass(frozen=True)
class Overview:
    """What a run found, in a few sentences: which normalizer, by how much, how sure.

    Attributes:
        sentences: what stands on the first screen.
        more: what has no room there.
        how: what a reader must know of them: what was compared and corrected, one line each.

    """

    sentences: tuple[Sentence, ...] = ()
    more: tuple[Sentence, ...] = ()
    how: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class Summary:
    """A run in a few rows, for a terminal.

    Attributes:
        suite: the suite's name.
        question: what it asks.
        accuracy: test accuracy by condition, or None where none was measured.
        costs: what was timed or weighed, a table for each measure and kind: layers by direction, dtype, layout and what
            else varies, each over the shapes and batch sizes; models, their memory and ranks by condition.
        verdicts: what the run says of the suite's claims.
        look: that seeds were added after a look, in words, or empty.
        tuning: what a reader must know of the tuning before any number, in words: choices on the edge of what was
            tried, and cells that wait.
        statuses: cells by what became of them, without those that are the same computation as another by design.
        same: how many those are.
        overview: what was found, in sentences.

    """

    suite: str
    question: str
    accuracy: Pivot | None
    costs: tuple[Headline, ...]
    verdicts: tuple[Verdict, ...]
    look: str
    tuning: tuple[str, ...]
    statuses: dict[str, int]
    same: int
    overview: Overview = Overview()

    @property
    def asked(self) -> tuple[Verdict, ...]:
        """The verdicts on the claims that the run could answer."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome != "not asked")

    @property
    def unasked(self) -> tuple[Verdict, ...]:
        """The verdicts on the others."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome == "not asked")

    @property
    def not_asked(self) -> str:
        """The other claims in one line, with reasons: "2 claims not asked: a, b (a side matches no cell)"; or empty.

        Which side of which claim it is fills pages where a run was narrowed; the reason of each verdict has it.
        """
        whose: dict[str, list[str]] = {}
        for verdict in self.unasked:
            side, brace, why = verdict.reason.rpartition("} ")
            whose.setdefault(f"a side {why}" if side or brace else why, []).append(verdict.claim.id)
        told = "; ".join(f"{', '.join(ids)} ({reason})" for reason, ids in whose.items())
        return f"{words.count(len(self.unasked), 'claim')} not asked: {told}" if told else ""
