"""The parts of a comparison, as plain data: its two sides, what sets them apart, and every change.

This module is light on purpose: it is imported with the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from normzoo_reports import words
from normzoo_reports.comparing.outcomes import OUTCOMES, Better, How
from normzoo_reports.comparing.text import change_text, range_text, value_text

Tone = Literal["lost", "worse", "better", "changed", "differs", "gained", "open", "same"]
"""What became of a metric: ``worse``, ``better`` and, where neither is better, ``changed`` have an interval without "no
change"; ``differs`` has too few pairs for one; of ``open`` no change is shown; ``same`` is so to the bit; ``lost`` and
``gained`` have cells with a value in A or in B alone."""

TONES: dict[Tone, str] = {
    "lost": "lost",
    "worse": "worse",
    "better": "better",
    "changed": "changed",
    "differs": "differs",
    "gained": "gained",
    "open": "no change shown",
    "same": "the same to the bit",
}
"""Tones in words, the gravest first."""

QUIET: tuple[Tone, ...] = ("open", "same")
"""Tones that a table of what changed leaves to its last line."""


@dataclass(frozen=True)
class Side:
    """One of the two runs: its folder's name, its suite, and how many of its cells have a readable record."""

    name: str
    suite: str
    protocol: int
    cells: int
    records: int

    @property
    def text(self) -> str:
        """It in words: "main, suite quick, protocol 2, 60 of 60 cells have a record"."""
        counted = f"{self.records:,} of {words.count(self.cells, 'cell')} have a record"
        return f"{self.name}, suite {self.suite}, protocol {self.protocol}, {counted}"


@dataclass(frozen=True)
class Difference:
    """A fact of environments or sources in which A and B differ.

    Attributes:
        what: the fact: ``torch``, ``cpu``, ``source of batch_norm``.
        kind: what it belongs to: ``machine``, ``versions``, ``code``, or ``conditions`` for all else.
        a: its value in A; several joined by "or".
        b: its value in B likewise.
        pairs: in how many pairs of cells the two differ.

    """

    what: str
    kind: Literal["machine", "versions", "code", "conditions"]
    a: str
    b: str
    pairs: int

    @property
    def text(self) -> str:
        """Both values: "torch 2.10.0 → 2.11.0"."""
        return f"{self.what} {self.a} → {self.b}"


@dataclass(frozen=True)
class Change:
    """What became of one metric of a normalizer under one condition, from A to B.

    Attributes:
        measure: what was measured.
        metric: the metric, a key of ``OUTCOMES``.
        normalizer: with its options.
        condition: the settings that tell it from the others, in words.
        pairs: by seed or repeat, the values in A and in B where both have one.
        how: how the change is told; ``plain`` for times and memory too where a value of 0 has no ratio.
        a: the mean in A over the pairs, of a ratio the geometric one; None without pairs.
        b: the same in B.
        change: B's mean less A's; of a ratio B's over A's, less 1.
        low: the lower end of the 95 % interval of the change, for it alone; None with fewer than 6 pairs.
        high: the upper end likewise.
        tone: what it comes to.
        lost: why cells with a value in A have none in B, and how many.
        gained: why cells with a value in B have none in A, and how many.
        diverged: how many of the pairs' runs diverged, in A and in B; they count with chance accuracy.

    """

    measure: str
    metric: str
    normalizer: str
    condition: str
    pairs: Mapping[int, tuple[float, float]]
    how: How
    a: float | None
    b: float | None
    change: float | None
    low: float | None
    high: float | None
    tone: Tone
    lost: tuple[tuple[str, int], ...] = ()
    gained: tuple[tuple[str, int], ...] = ()
    diverged: tuple[int, int] = (0, 0)

    @property
    def n(self) -> int:
        """How many pairs it rests on."""
        return len(self.pairs)

    @property
    def better(self) -> Better:
        """Which way the metric is better."""
        return OUTCOMES[self.metric].better

    @property
    def main(self) -> bool:
        """Whether a table of what changed shows it without being asked."""
        return OUTCOMES[self.metric].main

    @property
    def _unchanged(self) -> bool:
        return all(a == b for a, b in self.pairs.values())

    @property
    def name(self) -> str:
        """The normalizer and the condition: "batch_norm, ranks 20 (2 each)"."""
        return ", ".join(filter(None, (self.normalizer, self.condition)))

    @property
    def tone_text(self) -> str:
        """What it comes to, in words."""
        return TONES[self.tone]

    @property
    def values(self) -> tuple[str, str]:
        """The values in A and in B: "97.81 %", or a dash where no pair has one."""
        first, second = ("–" if one is None else value_text(self.metric, one) for one in (self.a, self.b))
        return first, second

    @property
    def change_text(self) -> str:
        """The change alone: "−1.20 points", "the same to the bit", or a dash where no pair has one."""
        if self.change is None:
            return "–"
        return TONES["same"] if self._unchanged else change_text(self.how, self.change)

    @property
    def range_text(self) -> str:
        """The interval of the change, or nothing: "[−1.60, −0.80]"."""
        if self.low is None or self.high is None or self._unchanged:
            return ""
        return range_text(self.how, self.low, self.high)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know besides: lost and gained cells, and runs that diverged."""
        found = [f"{_told(self.lost)} in B, where A has a value"] if self.lost else []
        found += [f"{_told(self.gained)} in A, where B has a value"] if self.gained else []
        in_a, in_b = self.diverged
        found += [f"diverged, counted as chance: {in_a} in A, {in_b} in B"] if in_a or in_b else []
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Give it for machines; the change of a ratio is a share of A's value."""
        plain = ("measure", "metric", "normalizer", "condition", "how", "a", "b", "change", "low", "high", "tone")
        told = {key: getattr(self, key) for key in plain}
        told |= {"better": self.better, "n": self.n, "lost": dict(self.lost), "gained": dict(self.gained)}
        return told | {"pairs": {str(key): list(pair) for key, pair in self.pairs.items()}}


def _told(whose: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(status if count == 1 else f"{status} ({count})" for status, count in whose)
