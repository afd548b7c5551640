"""`normzoo clean`: what goes, what stays, and that nothing measured goes unasked."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

import normzoo_bench
from normzoo_bench import cleaning, cli, commands
from normzoo_bench.errors import UsageError
from normzoo_bench.files import write_whole
from normzoo_bench.running import leases
from normzoo_bench.running.leases import Leases
from normzoo_bench.running.store import Store
from normzoo_suites import Record, SuiteError, read_run


def record(cell, **changes):
    usual = {"id": cell.id, "suite": "tiny", "measure": cell.measure, "settings": cell.settings.model_dump()}
    return Record.model_validate(usual | {"status": "ok"} | changes)


def opened(folder, suite, **asked):
    store, plan = Store(folder), commands.plan(suite, **asked)
    store.open(plan)
    store.describe(plan, "normzoo run")
    store.close()
    return store, plan


@pytest.fixture
def run(tiny, tmp_path):
    """A run of two seeds, all measured, of which one cell twice; then planned with one seed."""
    folder = tmp_path / "run"
    store, plan = opened(folder, tiny)
    for cell in plan.to_do():
        store.write(record(cell))
    store.write(record(plan.to_do()[0], seconds=2.0))
    opened(folder, tiny, seeds=1)
    return folder


def half_written(file, age=3600.0):
    file.parent.mkdir(exist_ok=True)
    file.write_text('{"sch', encoding="utf-8")
    then = time.time() - age
    os.utime(file, (then, then))
    return file


def content(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def told(cleaned):
    return {(left.what, left.removed): left.files for one in cleaned for left in one.leftovers}


UNPLANNED = "records of cells that are no longer planned"


def test_without_options_only_half_written_files_go_and_the_rest_is_listed(run):
    before = content(run)
    names = (".run.json.7.part", "cells/.ab.json.7.part", "contracts/.a.json.7.part")
    planted = [half_written(run / name) for name in names]
    (cleaned,) = normzoo_bench.clean(run)
    assert told([cleaned]) == {("half-written files", True): 3, ("older attempts", False): 1, (UNPLANNED, False): 5}
    assert not any(file.exists() for file in planted)
    assert content(run) == before
    assert cleaned.leftovers[0].bytes == 15


def test_what_write_whole_leaves_when_it_is_killed_is_known_as_half_written(run, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_whole(run / "cells" / "0123456789abcdef.json", "{}")
    (left,) = (run / "cells").glob(".*.part")
    os.utime(left, (1, 1))
    assert told(normzoo_bench.clean(run))["half-written files", True] == 1


def test_a_half_written_file_that_may_be_being_written_stays(run):
    young = half_written(run / "cells" / ".ab.json.7.part", age=5)
    assert told(normzoo_bench.clean(run))["half-written files", False] == 1
    assert young.exists()


def test_older_attempts_go_where_they_are_named_and_no_record_goes_with_them(run):
    records = content(run / "cells").keys()
    assert told(normzoo_bench.clean(run, older=True))["older attempts", True] == 1
    assert content(run / "cells").keys() == {name for name in records if not name.startswith("older")}


def test_records_that_are_not_planned_any_more_go_where_they_are_named(run, tiny):
    ids = {cell.id for cell in read_run(run).cells}
    assert told(normzoo_bench.clean(run, outdated=True))[UNPLANNED, True] == 5
    assert {file.stem for file in (run / "cells").glob("*.json")} <= ids
    assert len(read_run(run).records) == len(ids)  # with those that are the same as another
    assert len(list((run / "cells" / "older").iterdir())) == 1


def test_records_stay_while_cells_wait_for_their_trials(run):
    held = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps(held | {"waiting": 3}), encoding="utf-8")
    before = content(run)
    (cleaned,) = normzoo_bench.clean(run, outdated=True)
    (left,) = (left for left in cleaned.leftovers if left.what == UNPLANNED)
    assert (left.removed, "3 cells wait for their trials" in left.note) == (False, True)
    assert content(run) == before


def test_unreadable_records_and_those_of_a_newer_version_stay_whatever_is_named(run):
    planned = next(cell.id for cell in read_run(run).cells if not cell.same_as)
    (run / "cells" / f"{planned}.json").write_text('{"schema": 1, "id', encoding="utf-8")
    (run / "cells" / "0123456789abcdef.json").write_text('{"schema": 99}', encoding="utf-8")
    (run / "cells" / "notes.json").write_text("{}", encoding="utf-8")
    found = told(normzoo_bench.clean(run, older=True, outdated=True))
    assert (found["unreadable records", False], found["records of a newer normzoo", False]) == (1, 1)
    for name in (planned, "0123456789abcdef", "notes"):
        assert (run / "cells" / f"{name}.json").exists()


def test_a_dry_run_changes_nothing_and_tells_the_same(run):
    half_written(run / "cells" / ".ab.json.7.part")
    (run / ".lock").unlink(missing_ok=True)
    before = content(run)
    dry = normzoo_bench.clean(run, older=True, outdated=True, dry_run=True)
    assert content(run) == before
    assert normzoo_bench.clean(run, older=True, outdated=True) == dry
    assert told(dry) == {("half-written files", True): 1, ("older attempts", True): 1, (UNPLANNED, True): 5}


def test_files_that_are_only_linked_there_are_left_alone(run, tmp_path):
    outside = half_written(tmp_path / "elsewhere" / ".ab.json.7.part")
    (run / "cells" / ".ab.json.7.part").symlink_to(outside)
    older = run / "cells" / "older"
    for file in older.iterdir():
        file.unlink()
    older.rmdir()
    older.symlink_to(outside.parent)
    normzoo_bench.clean(run, older=True, outdated=True)
    assert outside.exists()
    assert (run / "cells" / ".ab.json.7.part").is_symlink()


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_folder_that_a_run_is_at_work_in_is_refused_and_no_other_is_touched(run, tmp_path, tiny, dry_run):
    free = tmp_path / "free"
    opened(free, tiny)
    planted = half_written(free / "cells" / ".ab.json.7.part")
    at_work = Leases(run, "a plan")
    at_work.join()
    with pytest.raises(UsageError, match="a run is at work in"):
        normzoo_bench.clean(free, run, dry_run=dry_run)
    at_work.leave()
    assert planted.exists()
    assert not normzoo_bench.clean(run, run)[1:]  # twice named, once cleaned


def test_no_run_works_in_a_folder_meanwhile(run, tiny, monkeypatch):
    half_written(run / "cells" / ".ab.json.7.part")

    def look(*_):
        with pytest.raises(UsageError, match="somebody has locked"):
            opened(run, tiny)

    monkeypatch.setattr(cleaning, "_remove", look)
    monkeypatch.setattr(leases, "PATIENCE", 0.1)
    normzoo_bench.clean(run)


def test_a_folder_that_is_no_run_folder_is_refused_and_left_alone(tmp_path):
    planted = half_written(tmp_path / ".x.json.7.part")
    with pytest.raises(SuiteError, match="is no run folder"):
        normzoo_bench.clean(tmp_path)
    assert list(tmp_path.iterdir()) == [planted]


def test_a_folder_whose_run_json_is_damaged_is_refused_since_what_counts_is_not_known(run):
    (run / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(SuiteError, match=r"cannot read .*run\.json"):
        normzoo_bench.clean(run, outdated=True)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("NORMZOO_CACHE", str(folder))
    for name in ("0123456789abcdef.pt", "fedcba9876543210.fingerprint", "notes.txt", "weights.pt"):
        (folder / name).write_bytes(b"x" * 1000)
    half_written(folder / "0123456789abcdef.77.part")
    half_written(folder / "0123456789abcdef.78.part", age=1)
    return folder


def test_the_cache_is_emptied_of_what_normzoo_put_there_alone(cache):
    (cleaned,) = normzoo_bench.clean(cache=True)
    assert [(left.files, left.bytes, left.removed) for left in cleaned.leftovers] == [(3, 2005, True), (1, 5, False)]
    assert {file.name for file in cache.iterdir()} == {"notes.txt", "weights.pt", "0123456789abcdef.78.part"}


def test_a_cache_that_is_not_there_has_nothing_to_remove(tmp_path, monkeypatch):
    monkeypatch.setenv("NORMZOO_CACHE", str(tmp_path / "nowhere"))
    assert normzoo_bench.clean(cache=True)[0].leftovers == ()


@pytest.fixture
def run_cli(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["normzoo", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return call


def test_the_command_line_says_what_went_how_much_and_what_removes_the_rest(run, run_cli):
    half_written(run / "cells" / ".ab.json.7.part")
    code, out, _ = run_cli("clean", run, "--dry-run")
    assert (code, f"{run}: would remove 1 half-written files, 5 bytes" in out) == (0, True)
    code, out, _ = run_cli("clean", run)
    assert (code, f"{run}: removed 1 half-written files, 5 bytes" in out) == (0, True)
    assert "1 older attempts, " in out
    assert ": --older removes them" in out
    assert "they count again once these cells are asked for; --outdated removes them" in out
    assert f"{run}: nothing to remove" in run_cli("clean", run)[1]
    assert f"removed 5 {UNPLANNED}" in run_cli("clean", run, "--older", "--outdated")[1]


def test_the_command_line_shows_the_caches_size(cache, run_cli):
    assert f"{cache}: would remove 3 files of decoded data, 2.0 kB" in run_cli("clean", "--cache", "--dry-run")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name run folders, or --cache"),
        (["nowhere"], "is no run folder"),
        (["--cache", "nowhere"], "is no run folder"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(words, message, run_cli, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = content(cache)
    code, out, err = run_cli("clean", *words)
    assert (code, out, len(err.splitlines()), message in err) == (2, "", 1, True)
    assert content(cache) == before
