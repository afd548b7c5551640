"""What a run says of its suite's claims: supported, refuted, inconclusive, or not asked.

A claim gives one number d per seed. Both of its one-sided hypotheses, that it holds and that its opposite does, are
tested by sign flips, and Holm's correction runs over both hypotheses of every claim of the suite, asked or not: the
family was fixed before the run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd

from normzoo_reports import words
from normzoo_reports.load import MEASURED, records, waiting
from normzoo_reports.plain import isolated
from normzoo_reports.statistics.power import needed
from normzoo_reports.statistics.signs import holm, interval, sign_flip
from normzoo_reports.verdict import Outcome, Verdict
from normzoo_suites import Cell, Claim, Run, SuiteError
from normzoo_suites.claim import Term
from normzoo_suites.claims import ALPHA, require_reading, seeds_needed, side_cells
from normzoo_suites.settings import MEASURES

_ROUNDING = 1e-12
_UNTUNED = "levels are compared only where every normalizer was tuned, and this run switched that off"
_Rows = dict[str, dict[str, Any]]  # by cell id, then by column
_Sides = list[tuple[Term, dict[int, Cell]]]  # the claim's terms, each with its cells by seed


@dataclass
class _Pairs:
    differences: list[float] = field(default_factory=list)
    diverged: int = 0
    missing: dict[str, list[int]] = field(default_factory=dict)  # why, and under which seeds


def judge(run: Run, table: pd.DataFrame) -> list[Verdict]:
    """Give the verdict on every claim of the run's suite, in the suite's order; ``table`` is from ``load_frame``."""
    rows = {str(row["id"]): row for row in records(table)}
    cells = [*run.cells, *waiting(run)]
    tuned = run.suite.select is not None
    drafts = [_measure(claim, cells, rows, tuned) for claim in run.suite.claims]
    adjusted = holm([p for draft in drafts for p in _family_p(draft)])
    pairs = zip(adjusted[::2], adjusted[1::2], strict=True)
    return [
        _decide(draft, p_for, p_against, len(drafts)) for draft, (p_for, p_against) in zip(drafts, pairs, strict=True)
    ]


def hypotheses(kind: Literal["higher", "equal"], margin: float, differences: Sequence[float]) -> tuple[float, float]:
    """Give the p-values for a claim and for its opposite, before any correction.

    ``higher``: mean > margin, against mean < margin. ``equal``: −margin < mean < margin, by the larger p of its two
    sides (Schuirmann 1987), against a mean outside, by the smaller: either side alone refutes it. Two chances need no
    further correction: of a claim's two hypotheses at most one is ever rejected, and Holm counts both.
    """
    above, below = sign_flip(differences, margin)
    if kind == "higher":
        return above, below
    above_lower, below_lower = sign_flip(differences, -margin)
    return max(below, above_lower), min(above, below_lower)


def _measure(claim: Claim, cells: list[Cell], rows: _Rows, tuned: bool) -> Verdict:
    """Give all of a verdict but the correction for the other claims and, with it, the outcome."""
    if claim.compares_levels and not tuned:
        return Verdict(claim, "not asked", _UNTUNED)
    try:
        sides = _sides(claim, cells)
    except SuiteError as error:
        return Verdict(claim, "not asked", str(error))
    pairs = _pairs(sides, rows)
    counted = MEASURES[str(claim.measure)].REPLICATES
    why = tuple(f"{reason} ({counted} {words.listing(seeds)})" for reason, seeds in pairs.missing.items())
    lost = sum(map(len, pairs.missing.values()))
    draft = Verdict(
        claim, "inconclusive", n=len(pairs.differences), diverged=pairs.diverged, missing=why, pairs_missing=lost
    )
    if not pairs.differences:
        return draft
    low, high = interval(pairs.differences) or (None, None)
    p_for, p_against = hypotheses(claim.is_, claim.margin, pairs.differences)
    effect = math.fsum(pairs.differences) / len(pairs.differences)
    draft = replace(draft, effect=effect, low=low, high=high, differences=tuple(pairs.differences))
    return replace(draft, raw_p_for=p_for, raw_p_against=p_against)


def _sides(claim: Claim, cells: list[Cell]) -> _Sides:
    """Give the claim's terms with their cells by seed, or say why there is nothing to compare."""
    found = [(term, side_cells(cells, term.settings, claim.measure)) for term in claim.terms]
    for term, by_seed in found:
        require_reading(term.metric, term.settings, by_seed.values())
    seeds = _common_seeds(found)
    if not seeds:
        raise SuiteError(f"its sides have no {MEASURES[str(claim.measure)].REPLICATES} in common")
    if all(_computations(found, 1, seed) == _computations(found, -1, seed) for seed in seeds):
        raise SuiteError("both sides are the same computation by design")
    return found


def _computations(sides: _Sides, sign: int, seed: int) -> Counter[tuple[str, str]]:
    """Count what one side reads off which trainings: two readings of one training are two numbers."""
    return Counter((term.metric, by_seed[seed].computation) for term, by_seed in sides if term.sign == sign)


def _common_seeds(sides: _Sides) -> list[int]:
    return sorted(set.intersection(*(set(by_seed) for _, by_seed in sides)))


def _pairs(sides: _Sides, rows: _Rows) -> _Pairs:
    pairs = _Pairs()
    for seed in _common_seeds(sides):
        cells = [(term, by_seed[seed]) for term, by_seed in sides]
        why = next(filter(None, (_why_absent(cell, term.metric, rows[cell.id]) for term, cell in cells)), None)
        diverged = {term.sign for term, cell in cells if rows[cell.id]["status"] == "diverged"}
        if not why and len(diverged) == 2:
            why = "both sides diverged"  # chance less chance says nothing of either
        if why:
            pairs.missing.setdefault(why, []).append(seed)
            continue
        terms = [term.sign * float(rows[cell.id][term.metric]) for term, cell in cells]
        difference = math.fsum(terms)
        # .98 + .97 - .97 - .98 is no effect, whatever its last bit says
        pairs.differences.append(0.0 if abs(difference) < _ROUNDING * max(map(abs, terms)) else difference)
        pairs.diverged += bool(diverged)
    return pairs


def _why_absent(cell: Cell, metric: str, row: dict[str, Any]) -> str | None:
    """Say why a cell has no value of this metric, or None when it has one."""
    status, reason = str(row["status"]), isolated(str(row["reason"]))
    name = isolated(cell.settings.normalizer)
    if status not in MEASURED:
        phrase = words.STATUS[status]
        return f"{name}: {phrase}: {reason}" if reason else f"{name}: {phrase}"
    if pd.isna(row.get(metric)):
        return f"{name}: {status}, without a {metric}"
    return None


def _family_p(draft: Verdict) -> tuple[float, float]:
    # a claim that cannot be decided stays in the family with p = 1: leaving it out would loosen the others' correction
    if draft.raw_p_for is None or draft.raw_p_against is None or draft.missing:
        return 1.0, 1.0
    return draft.raw_p_for, draft.raw_p_against


def _decide(draft: Verdict, p_for: float, p_against: float, claims: int) -> Verdict:
    if draft.outcome == "not asked":
        return draft
    if draft.missing:
        return replace(draft, reason=f"{words.count(draft.pairs_missing, 'pair')} missing")
    outcome: Outcome = "supported" if p_for <= ALPHA else "refuted" if p_against <= ALPHA else "inconclusive"
    decided = replace(draft, outcome=outcome, p_for=p_for, p_against=p_against)
    if outcome != "inconclusive":
        return decided
    more = needed(draft.claim.is_, draft.claim.margin, draft.differences, claims)
    return replace(decided, reason=_undecided(draft.n, claims), needed=more)


def _undecided(n: int, claims: int) -> str:
    needed = seeds_needed(claims)
    if n < needed:
        return f"{words.count(n, 'pair')} cannot decide one of {words.count(claims, 'claim')}; it takes {needed}"
    return "neither the claim nor its opposite reached p ≤ 0.05 after Holm's correction"
