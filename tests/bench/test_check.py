"""`normzoo check`: which normalizers are meant, and what a run folder keeps of the findings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import normzoo
from normzoo import contract
from normzoo_bench import UsageError, check
from normzoo_suites import Cell, Suite, parse_suite, read_run
from normzoo_suites.contracts import read_result

SUITE = """
name = "small"
question = "What?"
protocol = 1
[[grids]]
measure = "throughput"
fixed = { batch_size = 32, shape = "64x8x8" }
[grids.axes]
normalizer = ["batch_norm", "group_norm", "group_norm(groups=8)", "group_norm(groups=48)"]
"""
FILE = '''
import normzoo
from normzoo.norms import NoNorm

@normzoo.register("kept", paper="none", year=2026, pools=set(), exempt={"check_shape_is_kept": "no reason"})
class Kept(NoNorm):
    """Kept."""

@normzoo.register("other", paper="none", year=2026, pools=set())
class Other(NoNorm):
    """Other."""
'''


@pytest.fixture(autouse=True)
def cheap_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask two checks only: what all find is the kit's own tests' affair."""
    few = [check for check in contract.CHECKS if check.__name__ in ("check_shape_is_kept", "check_dtype_is_kept")]
    whole = contract.run_checks_for_all
    monkeypatch.setattr(contract, "run_checks_for_all", lambda cards: whole(cards, few))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return folder_of(parse_suite(SUITE, "small.toml"), tmp_path / "run")


def folder_of(suite: Suite, folder: Path, cells: list[Cell] | None = None) -> Path:
    folder.mkdir()
    held = [cell.to_json() for cell in (suite.cells() if cells is None else cells)]
    content = {"schema": 1, "suite": suite.to_json(), "cells": held, "command": "normzoo run small"}
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_findings_are_given_by_the_spelling_of_settings() -> None:
    found = check("group_norm", "group_norm( groups = 8 )")
    assert list(found.results) == ["group_norm", "group_norm(groups=8)"]
    assert [one.outcome for one in found.results["group_norm"].findings] == ["passed", "passed"]
    assert found.results["group_norm(groups=8)"].source_hash == normzoo.card("group_norm").source_hash
    assert found.kept
    assert found.folder is None


def test_a_run_keeps_the_findings_of_all_its_normalizers_with_their_options(run: Path) -> None:
    found = check(to=run)
    assert list(found.results) == ["batch_norm", "group_norm", "group_norm(groups=8)"]
    assert read_run(run).contracts == found.results
    assert sorted(file.name for file in (run / "contracts").iterdir()) == [
        "batch_norm.json", "group_norm.json", "group_norm_groups_8-b9538486.json",
    ]  # fmt: skip


def test_options_that_the_checks_cannot_build_are_left_out_of_a_run_and_refused_by_name(run: Path) -> None:
    assert "groups must divide the 64 channels, got 48" in check(to=run).left_out["group_norm(groups=48)"]
    with pytest.raises(UsageError, match=r"^group_norm\(groups=48\): groups must divide .* build 64 channels$"):
        check("group_norm(groups=48)", to=run)


def test_checking_again_replaces_what_was_found(run: Path) -> None:
    check("batch_norm", to=run)
    file = run / "contracts" / "batch_norm.json"
    before = file.read_bytes()
    file.write_text("{", encoding="utf-8")
    check("batch_norm", to=run)
    assert file.read_bytes() == before
    assert [one.name for one in file.parent.iterdir()] == ["batch_norm.json"]


def test_a_run_takes_only_normalizers_that_it_measured(run: Path) -> None:
    with pytest.raises(UsageError, match="run did not measure layer_norm; it has: batch_norm, group_norm, "):
        check("batch_norm", "layer_norm", to=run)
    assert not (run / "contracts").exists()


def test_a_file_means_all_its_normalizers_and_of_a_run_those_that_it_measured(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE, encoding="utf-8")
    found = check(file)
    assert list(found.results) == ["kept", "other"]
    assert not found.kept
    assert found.results["kept"].findings[0].outcome == "exemption no longer needed"
    suite = parse_suite(SUITE.replace('"group_norm(groups=8)"', '"other"'), "small.toml")
    run = folder_of(suite, tmp_path / "run")
    assert list(check(file, to=run).results) == ["other"]
    with pytest.raises(UsageError, match=r"did not measure .*mine\.py"):
        check(file, to=folder_of(parse_suite(SUITE, "small.toml"), tmp_path / "without"))


def test_a_normalizer_that_is_not_registered_says_how_its_file_is_given(tmp_path: Path) -> None:
    run = folder_of(parse_suite(SUITE.replace('"batch_norm"', '"my_norm"'), "small.toml"), tmp_path / "run")
    with pytest.raises(UsageError, match=r"unknown normalizer 'my_norm'; .*; for one in a file: --load FILE.py$"):
        check(to=run)


def test_nothing_named_is_a_mistake_that_says_what_can_be() -> None:
    with pytest.raises(UsageError, match="name a normalizer or a file to check, or with --to RUN all of a run"):
        check()


def test_a_folder_that_cannot_be_written_is_told(run: Path) -> None:
    (run / "contracts").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*contracts: File exists"):
        check("batch_norm", to=run)


def test_findings_as_json_are_those_of_the_files(run: Path, capsys, monkeypatch) -> None:
    from normzoo_bench import cli

    monkeypatch.setattr("sys.argv", ["normzoo", "check", "batch_norm", "--to", str(run), "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    (printed,) = json.loads(capsys.readouterr().out)
    file = run / "contracts" / "batch_norm.json"
    assert json.loads(file.read_text(encoding="utf-8")) == printed
    assert read_result(file.read_bytes(), file.name).normalizer == "batch_norm"


def test_a_fault_ends_with_exit_code_1_and_is_printed(tmp_path: Path, capsys, monkeypatch) -> None:
    from normzoo_bench import cli

    file = tmp_path / "mine.py"
    file.write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("sys.argv", ["normzoo", "check", str(file)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert "remove the exemption" in out
    assert "kept: 1 fault in 2 checks" in out
    assert "other: no faults in 2 checks" in out
