"""Runners that share a folder: none measures what another does, and what the dead had is taken over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from normzoo_bench.running import leases
from normzoo_bench.running.leases import Leases, at_work

CLAIMS = """
import sys, time
from pathlib import Path
from normzoo_bench.running.leases import Leases
mine = Leases(Path(sys.argv[1]), "a plan")
mine.join()
with mine.lock:
    print(mine.take(["x", "y"]), flush=True)
time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def first(run: Path) -> Iterator[Leases]:
    made = Leases(run, "a plan")
    made.join()
    yield made
    made.leave()


@pytest.fixture
def second(run: Path) -> Iterator[Leases]:
    made = Leases(run, "a plan")
    made.join()
    yield made
    made.leave()


def take(who: Leases, *cells: str) -> bool:
    with who.lock:
        return who.take(cells)


def elsewhere(run: Path, cells: list[str]) -> Path:
    """Write what a runner on another machine would have written; nobody holds a lock of it here."""
    file = run / "runners" / "other.json"
    file.write_text(json.dumps({"machine": "other", "about": "a plan", "cells": cells}), encoding="utf-8")
    return file


def test_a_cell_goes_to_one_runner_only(first: Leases, second: Leases) -> None:
    assert take(first, "x")
    assert not take(second, "x")
    assert take(second, "y")


def test_cells_are_taken_all_or_none(first: Leases, second: Leases) -> None:
    assert take(first, "x")
    assert not take(second, "y", "x")
    assert take(first, "y")


def test_a_cell_that_is_given_back_is_free(first: Leases, second: Leases) -> None:
    assert take(first, "x", "y")
    first.give_back(["x"])
    assert take(second, "x")
    assert not take(second, "y")


def test_who_leaves_leaves_nothing(run: Path, second: Leases) -> None:
    gone = Leases(run, "a plan")
    gone.join()
    assert take(gone, "x")
    gone.leave()
    assert take(second, "x")
    assert at_work(run) == 1


def test_runners_of_another_plan_are_told_and_take_no_place(run: Path, first: Leases) -> None:
    assert Leases(run, "another").join() == {"a plan"}
    assert at_work(run) == 1


def test_what_a_killed_runner_had_is_free_at_once(run: Path, second: Leases) -> None:
    with subprocess.Popen([sys.executable, "-c", CLAIMS, str(run)], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "True\n"
        assert not take(second, "x")
        assert at_work(run) == 2
        os.kill(killed.pid, signal.SIGKILL)
    assert take(second, "x")
    assert at_work(run) == 1


def test_who_works_elsewhere_keeps_its_cells_as_long_as_it_gives_signs(
    run: Path, second: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SILENCE", 0.2)
    file = elsewhere(run, ["x"])
    for beat in range(5):
        os.utime(file, ns=(0, beat))  # its clock may say whatever it likes
        assert not take(second, "x")
        time.sleep(0.15)


def test_what_has_been_silent_elsewhere_is_free(run: Path, second: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    file = elsewhere(run, ["x"])
    assert not take(second, "x")
    monkeypatch.setattr(leases, "SILENCE", 0.1)
    time.sleep(0.2)
    assert take(second, "x")
    assert not file.exists()


@pytest.mark.parametrize("year", [1980, 2100])
def test_a_clock_that_is_set_takes_no_cell_from_anybody(run: Path, second: Leases, year: int) -> None:
    seconds = int(time.mktime((year, 1, 1, 0, 0, 0, 0, 0, 0)))
    os.utime(elsewhere(run, ["x"]), (seconds, seconds))
    assert not take(second, "x")


def test_a_runner_gives_signs_of_life(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.05)
    alive = Leases(run, "a plan")
    alive.join()
    (file,) = (run / "runners").glob("*.json")
    before = file.stat().st_mtime_ns
    time.sleep(0.5)
    assert file.stat().st_mtime_ns > before
    alive.leave()


def test_a_half_written_file_of_a_runner_stops_nobody(run: Path, second: Leases) -> None:
    (run / "runners" / "half.json").write_text('{"machine": "', encoding="utf-8")
    assert take(second, "x")


def test_who_measures_single_cells_or_cannot_be_read_is_in_nobodys_way(run: Path) -> None:
    alone, plan, same = Leases(run, ""), Leases(run, "a plan"), Leases(run, "a plan")
    assert alone.join() == plan.join() == set()
    (run / "runners" / "odd.json").write_text("", encoding="utf-8")
    assert same.join() == set()
    assert take(alone, "x")
    assert take(plan, "y")
    assert not take(same, "y")
    assert not take(same, "x")
    for one in (alone, plan, same):
        one.leave()


def test_who_was_asleep_and_taken_for_dead_has_what_it_takes_from_then_on(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT", 1000.0)  # asleep
    sleeper, other = Leases(run, "a plan"), Leases(run, "a plan")
    for one in (sleeper, other):
        one.join()
    assert take(sleeper, "x")
    monkeypatch.setattr(leases, "SILENCE", 0.1)
    assert not take(other, "x")
    time.sleep(0.2)
    assert take(other, "x")
    monkeypatch.setattr(leases, "SILENCE", 60.0)
    assert take(sleeper, "y")
    assert not take(other, "y")
    assert not take(sleeper, "x")
    sleeper.leave()
    assert take(other, "y")
    other.leave()


def test_what_a_runner_had_before_this_machine_was_started_anew_is_free(run: Path, second: Leases) -> None:
    file = elsewhere(run, ["x"])
    told = {"machine": "before", "host": leases._host(), "about": "a plan", "cells": ["x"]}
    file.write_text(json.dumps(told), encoding="utf-8")
    assert not take(second, "x")  # it gave a sign just now: machines may be copies of one another
    old = time.time() - 120
    os.utime(file, (old, old))
    if leases._host():
        assert take(second, "x")


def test_a_folder_whose_runner_died_elsewhere_is_found_free_within_a_minute(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "runners").mkdir()
    file = elsewhere(run, ["x"])
    os.utime(file, (1, 1))
    monkeypatch.setattr(leases, "SILENCE", 0.3)
    assert at_work(run) == 0
    assert Leases(run, "another").join() == set()


def test_a_claim_is_never_seen_half_written(run: Path, first: Leases, second: Leases) -> None:
    seen = []
    for number in range(200):
        assert take(first, f"cell {number}")
        seen += [json.loads(file.read_text(encoding="utf-8")) for file in (run / "runners").glob("*.json")]
    assert len(seen) == 400
