"""Which normalizer is most accurate, under which conditions, by how much: in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from normzoo_reports import words
from normzoo_reports.findings.contest import Contest, Entrant, candidates, differences, named, pairs_needed
from normzoo_reports.findings.levels import contests, levels
from normzoo_reports.results import Sentence
from normzoo_reports.statistics.signs import INTERVAL_FROM, interval
from normzoo_suites import Run

_REFERENCE = "batch_norm"
_ONE_BY_ONE = 3  # lower ones that are told each by itself
_UNTUNED = "Levels compare defaults at one common learning rate here, not each normalizer at its best."
_HOW = (
    "Highest: above every other one in the differences under the same seed, by exact sign flips with Holm's correction "
    "over {}: of runs without a difference at most 1 in 20 names one. Lower: "
    "corrected within its condition. Intervals hold 95 % each by itself. All rests on {}."
)


@dataclass(frozen=True)
class Standing:
    """What may be said of one condition.

    Attributes:
        contest: its entrants.
        kind: ``highest`` where one may be named, ``open`` where not, ``means`` where pairs are too few to say anything.
        group: the highest one, or those between whom no difference was found.
        lower: who is lower than the highest mean.
        unsure: who cannot be compared with it, for pairs are missing.
        fallen: who of the lower ones has less than half of what the highest mean has above chance.

    """

    contest: Contest
    kind: Literal["highest", "open", "means"]
    group: tuple[Entrant, ...]
    lower: tuple[Entrant, ...]
    unsure: tuple[Entrant, ...]
    fallen: tuple[Entrant, ...] = ()

    @property
    def alike(self) -> tuple[object, ...]:
        """What conditions must have in common to share a sentence."""
        if self.kind == "means":
            return (self.contest.condition,)
        sets = (frozenset(one.names for one in part) for part in (self.group, self.lower, self.unsure, self.fallen))
        return (self.kind, self.contest.without, *sets)


def standings(run: Run, table: pd.DataFrame) -> tuple[list[Sentence], list[str]]:
    """Say which normalizer is most accurate, conditions that say the same joined, and how that was come by."""
    found = levels(run, table)
    if found is None:
        return [], []
    rows, metric, names = found
    every = contests(run, rows, metric, names)
    guesses = set(rows["chance_accuracy"].dropna()) if "chance_accuracy" in rows else set()
    chance = float(guesses.pop()) if len(guesses) == 1 else None
    say = _Words(metric)
    alike: dict[tuple[object, ...], list[Standing]] = {}
    standing = judged(every, chance)
    for one in sorted(standing, key=lambda one: len(one.contest.entrants) == 1):  # one alone is least of a finding
        alike.setdefault(one.alike, []).append(one)
    return [say.sentence(group) for group in alike.values()], _how(run, standing)


def judged(every: Sequence[Contest], chance: float | None = None) -> list[Standing]:
    """Tell what may be said of each condition, the family being all of them; ``chance`` is the metric by guessing."""
    needed = max(INTERVAL_FROM, pairs_needed(candidates(every)))
    return [_standing(one, sure, needed, chance) for one, sure in zip(every, named(every), strict=True)]


def _standing(one: Contest, sure: bool, needed: int, chance: float | None) -> Standing:
    unsure = tuple(other for other in one.entrants[1:] if differences(one.first, other) is None)
    if not sure and one.n < max(needed, pairs_needed(one.comparisons)):
        return Standing(one, "means", (), (), unsure)
    lower = one.entrants[1:] if sure else tuple(one.behind())
    group = tuple(entrant for entrant in one.entrants if entrant not in (*lower, *unsure))
    above = 0.0 if chance is None else one.first.mean - chance  # where nobody is above chance, nobody falls to it
    fallen = tuple(other for other in lower if above > 0 and other.mean - (chance or 0.0) < above / 2)
    return Standing(one, "highest" if sure else "open", group, lower, unsure, fallen)


def _how(run: Run, standing: Sequence[Standing]) -> list[str]:
    """Say what the sentences rest on; nothing where no two were compared."""
    every = [one.contest for one in standing]
    counts = sorted({one.n for one in every if one.n})
    if not counts:
        return []
    family = f"{words.count(candidates(every), 'candidate')} (each normalizer under each condition)"
    lines = [_UNTUNED] if run.suite.select is None else []
    needed = max(INTERVAL_FROM, pairs_needed(candidates(every)))
    if counts[-1] < needed:
        few = f"{words.count(counts[-1], 'seed')} {'is' if counts[-1] == 1 else 'are'} too few to name a highest"
        return [*lines, f"{few} among {family}; it takes {needed}."]
    pairs = words.count(counts[0], "pair") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} pairs"
    lines.append(_HOW.format(family, pairs))
    if any(one.fallen for one in standing):
        lines[-1] += " Collapse: less than half is left of what the highest mean has above chance."
    if any(one.kind == "means" and one.contest.n for one in standing):
        lower = max(pairs_needed(one.contest.comparisons) for one in standing if one.kind == "means")
        lines.append(f"Where only means stand, none is shown to be highest, and to call one lower takes {lower} pairs.")
    return lines


class _Words:
    """Puts conditions that say the same into one sentence."""

    def __init__(self, metric: str) -> None:
        """Speak of a metric."""
        self.metric = metric

    def sentence(self, alike: Sequence[Standing]) -> Sentence:
        """Say what holds under all of these conditions."""
        where = "; ".join(one.contest.condition for one in alike if one.contest.condition)
        first = alike[0]
        say = {"highest": self._highest, "open": self._open, "means": self._means}[first.kind]
        parts = [say(alike)]
        parts += [f"not compared, for pairs are missing: {_names(first.unsure)}"] if first.unsure else []
        lost = dict.fromkeys(one.name for each in alike for one in each.contest.entrants if one.diverged)
        parts += [f"with diverged runs, counted as chance: {', '.join(lost)}"] if lost else []
        parts += [f"without a value: {', '.join(first.contest.without)}"] if first.contest.without else []
        return Sentence(where, f"{'; '.join(parts)}.", "found")

    def _highest(self, alike: Sequence[Standing]) -> str:
        first = alike[0].contest.first
        seconds = {one.contest.entrants[1].name for one in alike}
        next_one = next(iter(seconds)) if len(seconds) == 1 else "the next"
        gap = self._gap([(one.contest, one.contest.entrants[1]) for one in alike])
        text = f"{first.name} is highest, {self._values(first, alike)}: {gap} above {next_one}"
        references = [(one.contest, other) for one in alike for other in one.lower if _REFERENCE in other.names]
        if references and not all(_REFERENCE in one.contest.entrants[1].names for one in alike):
            text += f", {self._gap(references)} above {_REFERENCE}"
        lasts = {one.contest.entrants[-1].names for one in alike}
        if not alike[0].fallen and len(alike[0].lower) > 1 and len(lasts) == 1:
            last = alike[0].contest.entrants[-1]
            text += f"; the lowest mean is {last.name}'s, {self._values(last, alike)}"
        return text + self._collapsed(alike)

    def _open(self, alike: Sequence[Standing]) -> str:
        group, first = alike[0].group, alike[0].contest.first
        if len(group) == 1:
            text = f"{first.name} has the highest mean, {self._values(first, alike)}, which is not shown of all"
        else:
            bounds = self._between([mean for one in group for mean in _means(one, alike)], falling=True)
            text = f"no difference found between {_names(group)} ({bounds})"
        if len(group) == 2 and len(alike) == 1:
            text += f", {self._gap([(alike[0].contest, alike[0].contest.of(group[1].names))])}"
            ends = interval(differences(alike[0].contest.first, group[1]) or [])
            text += ", which the correction leaves undecided" if ends and ends[0] > 0 else ""
        plain = [one for one in alike[0].lower if one not in alike[0].fallen]
        if plain:
            told = [
                f"{one.name} by {self._gap([(each.contest, each.contest.of(one.names)) for each in alike])}"
                for one in plain[:_ONE_BY_ONE]
            ]
            told += [f"{len(plain) - _ONE_BY_ONE} more"] if len(plain) > _ONE_BY_ONE else []
            text += f"; lower than the highest mean: {words.listed(told)}"
        return text + self._collapsed(alike)

    def _means(self, alike: Sequence[Standing]) -> str:
        entrants = alike[0].contest.entrants
        if len(entrants) == 1:
            return f"only {entrants[0].name}, {self._level(entrants[0])}"
        told = [f"{self._level(one)} of {one.name}" for one in (entrants[-1], entrants[0])]
        return f"means from {told[0]} to {told[1]}"

    def _gap(self, pairs: Sequence[tuple[Contest, Entrant]]) -> str:
        """Give by how much the first one leads another; of several conditions, where that is least."""
        found = [(differences(one.first, other) or [0.0], one.condition) for one, other in pairs]
        gaps, where = min(found, key=lambda one: math.fsum(one[0]) / len(one[0]))
        ends = interval(gaps)
        told = [words.show_change(self.metric, math.fsum(gaps) / len(gaps))]
        told += [words.show_change_range(self.metric, *ends)] if ends else []
        return " ".join(told).replace("+", "") + (f" (under {where}, elsewhere no less)" if len(found) > 1 else "")

    def _collapsed(self, alike: Sequence[Standing]) -> str:
        told = [(one.name, self._values(one, alike)) for one in alike[0].fallen]
        if len(told) == 1:
            return f"; {told[0][0]} collapses to {told[0][1]}"
        return f"; {words.listed(f'{name} ({values})' for name, values in told)} collapse" if told else ""

    def _values(self, entrant: Entrant, alike: Sequence[Standing]) -> str:
        return self._between(_means(entrant, alike))

    def _between(self, means: Sequence[float], falling: bool = False) -> str:
        ends = sorted((min(means), max(means)), reverse=falling)
        shown = list(dict.fromkeys(words.show(self.metric, end) for end in ends))
        return " to ".join([*(one.removesuffix(" %") for one in shown[:-1]), shown[-1]])

    def _level(self, entrant: Entrant) -> str:
        ends = interval(list(entrant.values.values()))
        spread = words.show_range(self.metric, *ends) if ends else ""
        return f"{words.show(self.metric, entrant.mean)} {spread}".rstrip()


def _means(entrant: Entrant, alike: Sequence[Standing]) -> list[float]:
    return [one.contest.of(entrant.names).mean for one in alike]


def _names(entrants: Iterable[Entrant]) -> str:
    return words.listed(one.name for one in entrants)
