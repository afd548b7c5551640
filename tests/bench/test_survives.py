"""What befalls a run from outside: full disks, read-only folders, clocks, other runners. Outcomes are made up here."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from normzoo_bench import commands, files
from normzoo_bench.errors import UsageError
from normzoo_bench.planner import Plan
from normzoo_bench.result import Result
from normzoo_bench.running import leases, pool, runner, store
from normzoo_bench.running.rounds import Options
from normzoo_bench.running.runner import RunResult, run_plan
from normzoo_bench.running.worker import Outcome
from normzoo_suites import Cell, read_run


@pytest.fixture
def plan(tiny: str) -> Plan:
    return commands.plan(tiny)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Measures in no time, in this process; lists what it has measured. A number says which measurement it is."""
    done: list[str] = []

    def outcomes(plan: Plan, cells: list[Cell], options: Options, take: Any) -> Iterator[tuple[Cell, Outcome]]:
        for cell in cells:
            if take((cell,)):
                done.append(cell.id)
                time.sleep(0.002)
                yield cell, Outcome("ok", "", Result({"test_accuracy": len(done) / 100}), {}, 0.1)

    monkeypatch.setattr(pool, "outcomes", outcomes)
    return done


def whole(folder: Path) -> bool:
    run = read_run(folder)
    return not run.unreadable and set(run.records) == {cell.id for cell in run.cells}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_a_disk_that_fails_ends_the_run_in_words_and_loses_nothing_that_was_written(
    plan: Plan, measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = store.write_whole

    def write(file: Path, text: str) -> None:
        if len(list((tmp_path / "run" / "cells").glob("*.json"))) == 4:
            raise OSError(number, os.strerror(number))
        real(file, text)

    monkeypatch.setattr(store, "write_whole", write)
    with pytest.raises(UsageError, match="what was written before is kept, and the same command goes on from there"):
        run_plan(plan, tmp_path / "run")
    monkeypatch.setattr(store, "write_whole", real)
    assert len(read_run(tmp_path / "run").records) >= 4
    again = run_plan(plan, tmp_path / "run")
    assert (again.resumed, again.measured) == (4, 7)
    assert whole(tmp_path / "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_half_a_file_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that ends early leaves what was there before, whole."""
    file = tmp_path / "run.json"
    files.write_whole(file, "before")
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: real(Path("/dev/full"), *a, **k))
    with pytest.raises(OSError, match="No space left"):
        files.write_whole(file, "after")
    monkeypatch.undo()
    assert file.read_text() == "before"


@pytest.mark.parametrize("years", [-20, 20])
def test_a_clock_that_is_set_in_the_middle_changes_nothing(
    plan: Plan, measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    real, since = time.time, time.monotonic()
    shift = years * 365 * 86400
    monkeypatch.setattr(time, "time", lambda: real() + (shift if time.monotonic() - since > 0.01 else 0))
    assert run_plan(plan, tmp_path / "run").measured == 11
    assert run_plan(plan, tmp_path / "run").measured == 0
    assert whole(tmp_path / "run")


def test_runners_side_by_side_measure_every_cell_once_and_each_ends_with_all(
    plan: Plan, measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LOOK", 0.01)
    ended: list[RunResult] = []
    threads = [
        threading.Thread(target=lambda: ended.append(run_plan(plan, tmp_path / "run")), daemon=True) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ended) == 3
    assert sorted(measured) == sorted(read_run(tmp_path / "run").records.keys() - same(tmp_path / "run"))
    assert {one.measured + one.resumed for one in ended} == {11}
    assert all(sum(one.statuses.values()) == 11 for one in ended)
    assert whole(tmp_path / "run")
    assert not list((tmp_path / "run" / "runners").iterdir())


def same(folder: Path) -> set[str]:
    return {cell.id for cell in read_run(folder).cells if cell.same_as}


def test_what_another_runner_wrote_while_this_machine_slept_stays_and_ours_is_kept_beside(
    plan: Plan, measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    slow = pool.outcomes
    monkeypatch.setattr(leases, "_machine", lambda: str(threading.get_ident()))  # each thread is a machine of its own
    monkeypatch.setattr(leases, "SILENCE", -1.0)  # and the other takes us for dead at once

    def outcomes(plan: Plan, cells: list[Cell], options: Options, take: Any) -> Iterator[tuple[Cell, Outcome]]:
        for number, (cell, outcome) in enumerate(slow(plan, cells, options, take)):
            if number == 0:
                monkeypatch.setattr(pool, "outcomes", slow)
                other = threading.Thread(target=run_plan, args=(plan, folder))
                other.start()
                other.join(30)
            yield cell, outcome

    monkeypatch.setattr(pool, "outcomes", outcomes)
    first = measured
    result = run_plan(plan, folder)
    assert first.count(first[0]) == 2  # it was measured twice, and neither is lost
    (ours,) = (folder / "cells" / "older").iterdir()
    assert ours.name == f"{first[0]}.0.json"
    assert json.loads(ours.read_text())["metrics"]["test_accuracy"] == 0.01
    assert read_run(folder).records[first[0]].metrics["test_accuracy"] > 0.01
    assert result.measured + result.resumed == 11
    assert whole(folder)


def test_halves_of_files_that_a_killed_runner_left_go_with_the_next(
    plan: Plan, measured: list[str], tmp_path: Path
) -> None:
    run_plan(plan, tmp_path / "run")
    old, young = (tmp_path / "run" / "cells" / f".{name}.json.1.part" for name in ("old", "young"))
    for half in (old, young):
        half.write_text("{")
    os.utime(old, (0, 0))
    run_plan(plan, tmp_path / "run")
    assert (old.exists(), young.exists()) == (False, True)


def test_fail_fast_ends_with_the_first_fault_and_the_next_run_goes_on(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = iter(["ok", "diverged", "error"])

    def outcomes(plan: Plan, cells: list[Cell], options: Options, take: Any) -> Iterator[tuple[Cell, Outcome]]:
        for cell in cells:
            yield cell, Outcome(next(statuses), "", Result({}), {}, 0.1)

    monkeypatch.setattr(pool, "outcomes", outcomes)
    result = run_plan(plan, tmp_path / "run", Options(fail_fast=True))
    assert (result.measured, result.failed_fast, result.exit_code) == (3, True, 1)
    statuses = iter(["ok"] * 8)
    rest = run_plan(plan, tmp_path / "run", Options(fail_fast=True))
    assert (rest.resumed, rest.measured, rest.failed_fast) == (3, 8, False)


def test_the_folder_names_no_machine_and_no_path_while_a_run_is_at_work(
    plan: Plan, measured: list[str], tmp_path: Path
) -> None:
    """A run folder is copied and published as it is."""
    seen: list[str] = []
    told = leases.Leases(tmp_path, "a plan")
    told.join()
    seen += [file.read_text(encoding="utf-8") for file in (tmp_path / "runners").glob("*.json")]
    told.leave()
    assert json.loads(seen[0]).keys() == {"machine", "host", "about", "cells"}
    assert os.uname().nodename not in seen[0]
    assert str(tmp_path) not in seen[0]


def test_status_goes_on_as_it_was_measured_and_tells_of_other_plans_records(
    tiny: str, tmp_path: Path, measured: list[str]
) -> None:
    out = tmp_path / "run"
    commands.run(tiny, out=out, shard="1/3", jobs=3, timeout=90)
    found = commands.status(out)
    assert (found.shard, found.to_do, found.others) == ((1, 3), 0, 0)
    assert found.command.endswith("--shard 1/3 --jobs 3 --timeout 90s")
    commands.run(tiny, out=out, normalizers=["group_norm"])
    found = commands.status(out)
    assert (found.shard, found.to_do) == (None, 0)
    of_batch_norm = [one for one in measured if one not in {cell.id for cell in read_run(out).cells}]
    assert found.others == len(of_batch_norm) > 0
    assert not found.command.endswith("s")
