"""A whole comparison, as plain data: the page, the terminal and the JSON are made of it.

This module is light on purpose: it is imported with the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from normzoo_reports import words
from normzoo_reports.comparing.results import QUIET, TONES, Change, Difference, Side
from normzoo_reports.comparing.ruling import Ruling

SCHEMA = 1


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side, A the baseline.

    Attributes:
        a: the baseline.
        b: what is held against it.
        headline: what sets the two apart, in one sentence.
        differences: the facts of environments and sources in which they differ.
        warnings: what a reader must beware of, in words.
        pairs: how many cells both hold.
        shared: how many of both are the same computation as another cell, whose result stands there.
        only_a: by measure, normalizer and condition in words, how many cells A alone holds.
        only_b: the same of B.
        changes: every outcome of every normalizer and condition.
        rulings: what became of every ``--fail-on``.

    """

    a: Side
    b: Side
    headline: str
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]
    pairs: int
    shared: int
    only_a: Mapping[str, int]
    only_b: Mapping[str, int]
    changes: tuple[Change, ...]
    rulings: tuple[Ruling, ...] = ()

    @property
    def regressed(self) -> bool:
        """Whether a ``--fail-on`` found a regression."""
        return any(ruling.broken for ruling in self.rulings)

    @property
    def told(self) -> tuple[Change, ...]:
        """What changed in the main metrics, the gravest first, else in the order of measuring."""
        rank = {tone: place for place, tone in enumerate(TONES)}
        loud = [one for one in self.changes if one.main and one.tone not in QUIET]
        return tuple(sorted(loud, key=lambda one: rank[one.tone]))

    @property
    def counted(self) -> str:
        """How many cells pair: "60 cells pair, 8 of them by the result of a cell that is the same computation"."""
        told = f"{words.count(self.pairs, 'cell')} {'pairs' if self.pairs == 1 else 'pair'}"
        return told + (
            f", {self.shared:,} of them by the result of a cell that is the same computation" if self.shared else ""
        )

    @property
    def rest(self) -> str:
        """The other changes, counted: "24 the same to the bit, 3 with no change shown, 40 in lesser metrics"."""
        main = [one.tone for one in self.changes if one.main]
        lesser = len(self.changes) - len(main)
        parts = [f"{main.count('same'):,} the same to the bit"] if "same" in main else []
        parts += [f"{main.count('open'):,} with no change shown"] if "open" in main else []
        parts += [f"{lesser:,} in lesser metrics"] if lesser else []
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Give all of it for machines: numbers as they are, accuracies as shares."""
        return {
            "schema": SCHEMA,
            "a": vars(self.a),
            "b": vars(self.b),
            "headline": self.headline,
            "differences": [vars(one) for one in self.differences],
            "warnings": list(self.warnings),
            "pairs": self.pairs,
            "same_computation": self.shared,
            "only_in_a": dict(self.only_a),
            "only_in_b": dict(self.only_b),
            "changes": [one.to_json() for one in self.changes],
            "fail_on": [one.to_json() for one in self.rulings],
            "regression": self.regressed,
        }
