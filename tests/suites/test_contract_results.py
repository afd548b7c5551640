"""Contract results: one file per normalizer in a run folder, whole or named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from normzoo_suites import SuiteError
from normzoo_suites.contracts import FOLDER, ContractResult, Finding, file_name, read_result, read_results


def made(**told: Any) -> ContractResult:
    findings = (
        Finding(check="check_a", sentence="It holds.", outcome="passed"),
        Finding(check="check_b", sentence="It is kept.", outcome="exempt", message='on purpose,\n"so"'),
    )
    least = {"normalizer": "group_norm", "source_hash": "abc", "environment": {"torch": "2.11.0"}, "findings": findings}
    return ContractResult(**(least | told))


def changed(**told: Any) -> str:
    return json.dumps(json.loads(made().to_json()) | told)


def write(folder: Path, name: str, text: str) -> None:
    (folder / FOLDER).mkdir(exist_ok=True)
    (folder / FOLDER / name).write_text(text, encoding="utf-8")


def test_a_result_has_exactly_the_documented_keys_in_their_order() -> None:
    held = json.loads(made().to_json())
    assert list(held) == ["schema", "normalizer", "source_hash", "environment", "findings"]
    assert list(held["findings"][0]) == ["check", "sentence", "outcome", "message"]


def test_a_result_reads_back_as_it_was() -> None:
    assert read_result(made().to_json(), "x.json") == made()


@pytest.mark.parametrize(("outcome", "kept"), [("passed", True), ("exempt", True), ("failed", False)])
def test_a_contract_is_kept_by_what_passes_and_by_what_is_exempt(outcome: Any, kept: bool) -> None:
    assert Finding(check="a", sentence="b", outcome=outcome).ok == kept


def test_an_exemption_that_is_not_needed_breaks_the_contract() -> None:
    assert not Finding(check="a", sentence="b", outcome="exemption no longer needed").ok


def test_half_characters_are_written_as_text() -> None:
    finding = Finding(check="a", sentence="b", outcome="failed", message="\ud800")
    assert read_result(made(findings=(finding,)).to_json(), "x.json").findings[0].message == "\\ud800"


@pytest.mark.parametrize(
    "name", ["group_norm", "group_norm(groups=8)", "../../x", "שלום", "", "a" * 300, "A", "\ud800"]
)
def test_a_file_has_a_name_of_its_own_that_leads_out_of_no_folder(name: str) -> None:
    others = {"group_norm", "group_norm_groups_8", "group_norm(groups=16)", "x", "a"} - {name}
    assert file_name(name) not in {file_name(other) for other in others}
    assert "/" not in file_name(name)
    assert file_name(name).isascii()
    assert len(file_name(name)) < 100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff", "not valid JSON"),
        ("[]", "it must hold an object, got a list of 0"),
        ("{}", "its schema must be 1, got None"),
        (changed(findings=[]), "findings: tuple should have at least 1 item"),
        (changed(findings=[{"check": "a"}]), "findings[0].sentence is missing"),
        (
            changed(findings=[{"check": "a", "sentence": "b", "outcome": "fine"}]),
            "findings[0].outcome: must be 'passed'",
        ),
        (changed(finding=[]), "unknown key 'finding'; did you mean 'findings'?"),
        (changed(environment=[]), "environment: must be a table, got a list of 0"),
        (changed(normalizer=1), "normalizer: must be a valid string, got 1"),
    ],
)
def test_what_is_no_result_is_refused_in_one_line(text: str | bytes, said: str) -> None:
    with pytest.raises(SuiteError) as caught:
        read_result(text, "x.json")
    assert str(caught.value).startswith(f"cannot read the contract result x.json: {said}")
    assert "\n" not in str(caught.value)


def test_a_newer_schema_is_refused_by_name_with_what_to_do() -> None:
    with pytest.raises(SuiteError, match=r"^the contract result x.json has schema 2, .*; install a newer normzoo$"):
        read_result(changed(schema=2, more=1), "x.json")


def test_a_folder_gives_the_results_of_the_normalizers_that_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "group_norm.json", made().to_json())
    write(tmp_path, "layer_norm.json", "{")
    assert read_results(tmp_path, ["batch_norm", "group_norm"]) == ({"group_norm": made()}, {})


def test_what_cannot_be_read_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    write(tmp_path, "group_norm.json", made().to_json())
    write(tmp_path, "layer_norm.json", "{")
    write(tmp_path, "batch_norm.json", made().to_json())
    (tmp_path / FOLDER / "none.json").mkdir()
    results, unreadable = read_results(tmp_path, ["group_norm", "layer_norm", "batch_norm", "none"])
    assert list(results) == ["group_norm"]
    assert unreadable["layer_norm"].startswith("cannot read the contract result layer_norm.json: not valid JSON")
    assert unreadable["batch_norm"] == "the contract result batch_norm.json is of another normalizer, 'group_norm'"
    assert unreadable["none"] == "cannot read the contract result none.json: Is a directory"


def test_a_run_without_results_has_none(tmp_path: Path) -> None:
    assert read_results(tmp_path, ["group_norm"]) == ({}, {})
    (tmp_path / FOLDER).write_text("")
    assert read_results(tmp_path, ["group_norm"]) == ({}, {})
