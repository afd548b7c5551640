"""The cards say how each normalizer did in the contract kit, and pass off nothing as passed that was not asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import report
from normzoo_reports.findings.contracts import Contract, contract
from normzoo_suites import Cell, Suite, change_suite, read_run
from normzoo_suites.contracts import ContractResult, Finding, file_name

Write = Callable[..., Path]
PASSED = Finding(check="check_a", sentence="It holds.", outcome="passed")
FAILED = Finding(check="check_b", sentence="It is kept.", outcome="failed", message="it is lost; keep it")
EXEMPT = Finding(check="check_c", sentence="It is calm.", outcome="exempt", message="it draws on purpose")
UNNEEDED = Finding(check="check_d", sentence="It is wide.", outcome="exemption no longer needed", message="remove it")


@pytest.fixture
def run(make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]) -> Path:
    """A run whose group norm was of the source `one`, its batch norm of `one` under seed 0, else of `two`."""

    def measure(cell: Cell) -> dict[str, Any]:
        old = cell.settings.normalizer != "batch_norm" or cell.settings.replicate == 0
        return measured(cell) | {"source_hash": "one" if old else "two"}

    suite = change_suite(tiny(6), normalizers=["batch_norm", "group_norm", "group_norm(groups=8)"])
    return make_run(suite, measure)


def keep(run: Path, *findings: Finding, normalizer: str = "group_norm", source: str = "one") -> Contract:
    told = {"normalizer": normalizer, "source_hash": source, "environment": {"torch": "2.11.0", "normzoo": "0.1.0"}}
    (run / "contracts").mkdir(exist_ok=True)
    (run / "contracts" / file_name(normalizer)).write_text(ContractResult(findings=findings, **told).to_json())
    return contract(read_run(run), normalizer)


def test_checks_that_all_passed_are_counted(run: Path) -> None:
    found = keep(run, PASSED, PASSED)
    assert (found.state, found.said, found.command) == ("kept", "2 of 2 checks passed", "")
    assert found.more == ("Checked with normzoo 0.1.0 and torch 2.11.0.",)


def test_exemptions_keep_a_contract_and_stand_with_their_reasons(run: Path) -> None:
    found = keep(run, PASSED, EXEMPT)
    assert (found.state, found.said) == ("kept", "1 of 2 checks passed, 1 exempt")
    assert found.exempt == (("It is calm.", "it draws on purpose"),)


def test_every_fault_is_told_in_words(run: Path) -> None:
    found = keep(run, PASSED, FAILED, UNNEEDED)
    assert (found.state, found.said) == ("broken", "1 of 3 checks passed, 2 faults")
    assert found.faults == (("It is kept.", "it is lost; keep it"), ("It is wide.", "remove it"))


def test_a_normalizer_that_was_not_checked_says_what_checks_it(run: Path) -> None:
    found = contract(read_run(run), "group_norm")
    assert (found.state, found.said) == ("unchecked", "not checked")
    assert found.command == "normzoo check group_norm --to RUN"
    assert contract(read_run(run), "group_norm(groups=8)").command == "normzoo check 'group_norm(groups=8)' --to RUN"


def test_a_result_of_another_source_is_not_shown_as_passed(run: Path) -> None:
    found = keep(run, PASSED, source="three")
    assert (found.state, found.said) == ("another source", "checked in another version of its source")
    assert (found.checks, found.command) == ((), "normzoo check group_norm --to RUN")


def test_a_result_of_the_source_of_some_records_says_of_how_many(run: Path) -> None:
    found = keep(run, PASSED, normalizer="batch_norm")
    assert found.state == "kept"
    assert found.more[0] == "That is the source of 3 of its 18 records; the others are of another version."


def test_a_result_of_other_options_says_nothing_of_these(run: Path) -> None:
    keep(run, PASSED)
    assert contract(read_run(run), "group_norm(groups=8)").state == "unchecked"


def test_a_fault_with_options_says_that_the_card_is_of_the_default_ones(run: Path) -> None:
    found = keep(run, FAILED, normalizer="group_norm(groups=8)")
    assert found.more[0] == "Its card speaks of the default options, which these are not."


def test_a_result_that_cannot_be_read_is_named_and_not_fatal(run: Path) -> None:
    keep(run, PASSED)
    (run / "contracts" / "group_norm.json").write_text("{")
    found = contract(read_run(run), "group_norm")
    assert (found.state, found.said) == ("unchecked", "not checked")
    assert found.more[0].startswith("cannot read the contract result group_norm.json: not valid JSON")
    assert found.more[0] in report(run).read_text(encoding="utf-8").replace("&#39;", "'")


def test_the_card_shows_faults_exemptions_and_below_the_fold_all_checks(run: Path) -> None:
    keep(run, PASSED, FAILED, EXEMPT)
    page = report(run).read_text(encoding="utf-8")
    card = page[page.index("<bdi>group_norm</bdi></h3>") :].partition("</article>")[0]
    assert '<span class="chip broken">1 of 3 checks passed, 1 fault, 1 exempt</span>' in card
    assert "it is lost; keep it" in card
    assert "it draws on purpose" in card
    assert card.partition("<details>")[2].count("<li") == 3


def test_a_page_without_results_names_what_adds_them(run: Path) -> None:
    page = report(run).read_text(encoding="utf-8")
    assert "not checked</span>; <code>normzoo check group_norm --to RUN</code> adds it" in page
