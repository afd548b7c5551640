"""Every claim of every built-in suite can turn out true, and false: none is decided by how it is put."""

from __future__ import annotations

from pathlib import Path

import pytest

from normzoo_reports.findings.verdicts import judge
from normzoo_reports.load import load_frame
from normzoo_suites import Cell, Claim, Record, Run, load_suite, suite_names
from normzoo_suites.claims import side_cells

EVERY = [(name, claim.id) for name in suite_names() for claim in load_suite(name).claims]


def verdict(suite_name: str, claim_id: str, effect: float) -> str:
    """Give the outcome of a claim by itself, on records of its own cells in which it has this effect, about."""
    suite = load_suite(suite_name)
    (claim,) = (one for one in suite.claims if one.id == claim_id)
    values, cells = planted(claim, suite.cells(), effect)
    records = {cell.id: record(cell, values[cell.id]) for cell in cells}
    run = Run(Path(), suite.model_copy(update={"claims": [claim]}), cells, records, {}, "normzoo run")
    (found,) = judge(run, load_frame(run))
    assert found.effect == pytest.approx(effect, abs=2e-3)
    return found.outcome


def planted(claim: Claim, cells: list[Cell], effect: float) -> tuple[dict[str, dict[str, float]], list[Cell]]:
    """Give the metrics of the cells that a claim speaks of: all alike, but for the first term's, which have the effect.

    A claim may count one term twice, as "half of it" does.
    """
    terms = claim.terms
    first = terms[0]
    weight = sum(term.sign for term in terms if (term.metric, term.settings) == (first.metric, first.settings))
    values: dict[str, dict[str, float]] = {}
    own: dict[str, Cell] = {}
    for term in terms:
        for replicate, cell in side_cells(cells, term.settings, claim.measure).items():
            own[cell.id] = cell
            values.setdefault(cell.id, {}).setdefault(term.metric, 2.0)
            if term is first:
                values[cell.id][term.metric] += (effect + 1e-4 * (replicate % 7 - 3)) / weight
    return values, list(own.values())


def record(cell: Cell, metrics: dict[str, float]) -> Record:
    return Record(
        id=cell.id,
        suite="made up",
        measure=cell.measure,
        settings=cell.settings.model_dump(),
        status="ok",
        reason="",
        metrics=metrics,
        card={"name": cell.settings.normalizer, "pools": []},
        source_hash="",
        data_fingerprint="",
        environment={},
        seconds=1.0,
        command="normzoo run",
    )


@pytest.mark.parametrize(("suite", "claim"), EVERY)
def test_a_claim_is_supported_where_it_holds_and_refuted_where_it_does_not(suite: str, claim: str) -> None:
    (told,) = (one for one in load_suite(suite).claims if one.id == claim)
    holds = 0.0 if told.is_ == "equal" else told.margin + 0.5
    fails = told.margin + 0.5 if told.is_ == "equal" else told.margin - 0.5
    assert verdict(suite, claim, holds) == "supported"
    assert verdict(suite, claim, fails) == "refuted"
    if told.is_ == "equal":
        assert verdict(suite, claim, -fails) == "refuted"
