"""Run folders of every released schema render, and what is of a newer one is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from normzoo_reports import report
from normzoo_suites import read_run

FIXTURES = Path(__file__).parents[1] / "suites" / "fixtures"
FOLDERS = sorted(file.parent for file in FIXTURES.glob("schema_*/*/run.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_run_folder_of_a_released_schema_renders(folder: Path, tmp_path: Path) -> None:
    page = report(folder, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 1
    for cell in read_run(folder).cells:
        assert f'id="cell-{cell.id}"' in page
    assert "cannot be read" not in page


def test_a_record_of_a_newer_schema_is_named_on_the_page_with_what_to_do(tmp_path: Path) -> None:
    run = shutil.copytree(FOLDERS[0], tmp_path / "run")
    file = next((run / "cells").iterdir())
    file.write_text(json.dumps({"schema": 2}), encoding="utf-8")
    page = report(run).read_text(encoding="utf-8")
    assert f"the record {file.name} has schema 2, this normzoo reads up to 1; install a newer normzoo" in page
