"""Whatever a suite's file becomes, loading it gives a suite, or a SuiteError in one line that names the file."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from mutations import DATES, WRONG, few, spoiled_data, spoiled_texts, told, toml

from normzoo_suites import Suite, change_suite, load_suite, suite_names

TEXTS = [(resources.files("normzoo_suites") / f"{name}.toml").read_text(encoding="utf-8") for name in suite_names()]
TABLES = [tomllib.loads(text) for text in TEXTS]
texts = spoiled_texts(TEXTS)
tables = spoiled_data(TABLES, [*WRONG, *DATES])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated") / "mine.toml"


def hold(file: Path, text: str) -> None:
    """Load a text as a file, and change what is loaded."""
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    suite, complaint = told(lambda: load_suite(str(file)))
    assert complaint.isprintable()
    assert len(complaint) < 2000
    if suite is None:
        assert complaint.removeprefix("cannot read the suite ").startswith(str(file))
        return
    seeds = 2 if suite.replicates == "seed" else None
    changed, complaint = told(lambda: change_suite(suite, {"normalizer": "none"}, seeds=seeds))
    assert complaint.isprintable()
    assert len(complaint) < 2000
    if changed is not None:
        assert Suite.model_validate(changed.to_json()).cells() == changed.cells()


def hold_table(file: Path, table: dict[str, Any]) -> None:
    hold(file, "\n".join(f"{key} = {toml(value)}" for key, value in table.items()))


@few(200)
@given(text=texts)
def test_a_spoiled_text_is_a_suite_or_told_in_one_line(file: Path, text: str) -> None:
    hold(file, text)


@few(200)
@given(table=tables)
def test_a_spoiled_table_is_a_suite_or_told_in_one_line(file: Path, table: dict[str, Any]) -> None:
    hold_table(file, table)


@pytest.mark.slow
@few(1000)
@given(text=texts)
def test_a_thousand_spoiled_texts_are_suites_or_told_in_one_line(file: Path, text: str) -> None:
    hold(file, text)


@pytest.mark.slow
@few(1000)
@given(table=tables)
def test_a_thousand_spoiled_tables_are_suites_or_told_in_one_line(file: Path, table: dict[str, Any]) -> None:
    hold_table(file, table)
