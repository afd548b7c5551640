"""What a report has to tell, as plain data: the page and the command line's table are made of these.

This module is light on purpose: it is imported with the package.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from normzoo_reports import words

if TYPE_CHECKING:
    from normzoo_reports.verdict import Verdict


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
