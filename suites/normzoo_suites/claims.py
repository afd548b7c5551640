"""Which cells a claim speaks of. The bench checks a suite with this, the report reads records with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from normzoo_suites.cell import Cell
from normzoo_suites.claim import Claim, Term
from normzoo_suites.errors import SuiteError, show, show_key, suggest
from normzoo_suites.metrics import METRICS
from normzoo_suites.readings import missing
from normzoo_suites.schema import Suite
from normzoo_suites.settings import DERIVED, MEASURES
from normzoo_suites.values import Value

ALPHA = 0.05
"""The chance, over all claims of a suite together, of a verdict that is false."""


def seeds_needed(claims: int) -> int:
    """Give the fewest seeds with which any of so many claims can get a verdict.

    The smallest p-value of a sign-flip test is 2⁻ⁿ, and Holm's correction is over both sides of every claim.
    """
    return math.ceil(math.log2(2 * max(claims, 1) / ALPHA))


def side_cells(cells: Iterable[Cell], side: Mapping[str, Value], measure: str | None = None) -> dict[int, Cell]:
    """Give the cells that one side of a claim names, by seed or repeat; where a measure is given, of its cells only.

    Raises:
        SuiteError: when no cell matches, or several do under one seed or repeat; the message says what they differ in.

    """
    found: dict[int, Cell] = {}
    for cell in cells:
        settings = cell.settings
        if measure not in (None, cell.measure) or any(getattr(settings, key, None) != side[key] for key in side):
            continue
        other = found.setdefault(settings.replicate, cell)
        if other is not cell:
            mine, theirs = settings.model_dump(), other.settings.model_dump()
            differ = [key for key in mine if mine[key] != theirs.get(key)] or ["measure"]
            raise SuiteError(f"{_show(side)} matches cells that differ in {', '.join(differ)}; name a value of it")
    if not found:
        raise SuiteError(f"{_show(side)} matches no cell")
    return found


def require_reading(metric: str, side: Mapping[str, Value], cells: Iterable[Cell]) -> None:
    """Require that the cells that a side names make the reading that it speaks of.

    Raises:
        SuiteError: when one does not; the message says which setting makes it.

    """
    for cell in cells:
        if wanted := missing(metric, dict(cell.settings)):
            raise SuiteError(f"{_show(side)} gives no {metric}; it needs {wanted}")


def check_claims(suite: Suite, cells: Sequence[Cell]) -> None:
    """Hold every claim of a suite to its own grids; ``cells`` are the suite's.

    Raises:
        SuiteError: when two claims have one id, a metric or setting is unknown, a side matches no cell or several, or
            cells that do not make the reading, the same cells stand on both sides, or its sides have no seed in common.

    """
    seen: set[str] = set()
    for number, claim in enumerate(suite.claims):
        if claim.id in seen:
            raise SuiteError(f"two claims have the id {show(claim.id)}; rename one", ("claims", number, "id"))
        seen.add(claim.id)
        try:
            if claim.compares_levels and suite.select is None:
                raise SuiteError(
                    "compares levels of different normalizers at one common learning rate, which compares defaults and "
                    "not layers; tune them by [select], compare one with itself across conditions, or two such drops",
                    ("plus",),
                )
            _check_metric(claim, cells)
            _check_claim(claim, [cell for cell in cells if cell.measure == claim.measure])
        except SuiteError as error:
            place = ("claims", number, *error.place)
            raise SuiteError(f"the claim {show(claim.id)}: {error}", place) from None


def _check_metric(claim: Claim, cells: Sequence[Cell]) -> None:
    if claim.measure is None:
        # of what the suite measures: all that there are would fill a screen
        known = [metric for measure in dict.fromkeys(cell.measure for cell in cells) for metric in METRICS[measure]]
        raise SuiteError(f"unknown metric {show(claim.metric)}; {suggest(claim.metric, known)}", ("metric",))


def _check_claim(claim: Claim, cells: list[Cell]) -> None:
    if not cells:
        raise SuiteError(f"{claim.metric} is of {claim.measure}, which no grid of this suite measures", ("metric",))
    found = [(term, _matched(claim, number, term, cells)) for number, term in enumerate(claim.terms)]
    plus, minus = (
        {(cell.id, term.metric) for term, by_seed in found if term.sign == sign for cell in by_seed.values()}
        for sign in (1, -1)
    )
    if plus & minus:
        raise SuiteError("the same cells stand on both sides, and cancel", ("minus",))
    if not set.intersection(*(set(by_seed) for _, by_seed in found)):
        raise SuiteError(f"its sides have no {MEASURES[str(claim.measure)].REPLICATES} in common", ("minus",))


def _matched(claim: Claim, number: int, term: Term, cells: list[Cell]) -> dict[int, Cell]:
    place = ("plus", number) if term.sign > 0 else ("minus", number - len(claim.plus))
    measure = str(claim.measure)
    if term.metric not in METRICS[measure]:
        message = f"unknown metric {show(term.metric)} of {measure}; {suggest(term.metric, METRICS[measure])}"
        raise SuiteError(message, (*place, "metric"))
    known = [*MEASURES[measure].model_fields, *DERIVED.get(measure, ())]
    for key in term.settings:
        if key not in known:
            raise SuiteError(f"unknown setting {show(key)} of {measure}; {suggest(key, known)}", (*place, key))
    try:
        found = side_cells(cells, term.settings)
        require_reading(term.metric, term.settings, found.values())
    except SuiteError as error:
        raise error.under(*place) from None
    return found


def _show(side: Mapping[str, Value]) -> str:
    return "{" + ", ".join(f"{show_key(key)} = {show_key(str(value))}" for key, value in side.items()) + "}"
