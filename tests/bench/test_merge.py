"""Run folders joined into one: nothing is lost, nothing is chosen silently."""

from __future__ import annotations

import dataclasses
import errno
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_runs import ENVIRONMENT, fault_of, holds, put, record_of, suite, write_run

import normzoo_bench
from normzoo_bench.errors import UsageError
from normzoo_bench.merging import files, join
from normzoo_bench.running import leases
from normzoo_bench.running.leases import Leases
from normzoo_suites import SuiteError, read_run

SUITE = suite()
CELLS = [cell for cell in SUITE.cells() if cell.settings.normalizer == "batch_norm"]
CELL = CELLS[0]  # accuracy of batch norm at 1 rank, seed 0
TIMED = next(cell for cell in SUITE.cells() if cell.measure == "throughput")
SMALL = suite(normalizers=["batch_norm", "group_norm", "none"], settings={"ranks": "1,5"}, seeds=1)
few = settings(
    max_examples=15, deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def told(folder: Path) -> dict[str, object]:
    """What a report reads of a run, but where it lies and what its command line is."""
    run = read_run(folder)
    return {f.name: getattr(run, f.name) for f in dataclasses.fields(run) if f.name not in ("folder", "command")}


def in_no_order(folder: Path) -> dict[str, object]:
    """The same with grids and cells in no order."""
    run = told(folder)
    grids = {json.dumps(grid, sort_keys=True) for grid in read_run(folder).suite.to_json()["grids"]}
    return run | {"suite": grids} | {key: {cell.id: cell for cell in run[key]} for key in ("cells", "trials")}


def only(*ids: str):
    return lambda cell: record_of(cell) if cell.id in ids else None


def nothing(cell):
    return None


@pytest.fixture
def a(tmp_path):
    """A run of which one cell is measured."""
    return write_run(tmp_path / "a", SUITE, only(CELL.id))


@pytest.fixture
def run_of(tmp_path):
    """Give a function that writes a run with these records only."""

    def make(name, *records, **content):
        folder = write_run(tmp_path / name, SUITE, nothing, **content)
        put(folder, records)
        return folder

    return make


@st.composite
def cuts(draw):
    """For every cell of a run, which of up to five folders have its record; and an order of the folders."""
    folders = draw(st.integers(1, 5))
    parts = st.sets(st.integers(0, folders - 1), min_size=1)
    return {cell.id: draw(parts) for cell in SMALL.cells()}, draw(st.permutations(range(folders)))


@few
@given(cuts())
def test_a_run_cut_into_folders_in_any_way_and_merged_in_any_order_is_the_run(cut):
    owners, order = cut
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        whole = write_run(place / "whole", SMALL)
        parts = [
            write_run(place / str(n), SMALL, lambda cell, n=n: record_of(cell) if n in owners[cell.id] else None)
            for n in order
        ]
        normzoo_bench.merge(*parts, to=place / "merged")
        assert told(place / "merged") == told(whole)
        ours, theirs = holds(place / "merged"), holds(whole)
        assert ours.pop("run.json") == theirs.pop("run.json").replace(b"--out whole", b"--out PATH_TO/merged")
        assert ours == theirs


@st.composite
def extensions(draw):
    """Ask for some normalizers and ranks of one suite, with some of the records, some of which are faults."""
    names = draw(st.lists(st.sampled_from(["batch_norm", "group_norm", "layer_norm"]), min_size=1, unique=True))
    ranks = draw(st.lists(st.sampled_from(["1", "5", "8", "20"]), min_size=1, unique=True))
    luck = draw(st.randoms(use_true_random=False))
    asked = suite(normalizers=names, settings={"ranks": ",".join(ranks)}, seeds=1)
    fates = {cell.id: luck.choice(["ok", "ok", "crashed", None]) for cell in asked.cells()}
    return asked, lambda cell: {"ok": record_of, "crashed": fault_of, None: nothing}[fates[cell.id]](cell)


@few
@given(extensions(), extensions(), extensions())
def test_it_does_not_matter_which_of_three_folders_are_merged_first(one, two, three):
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        a, b, c = (write_run(place / str(n), *part) for n, part in enumerate((one, two, three)))
        normzoo_bench.merge(a, b, to=place / "ab")
        normzoo_bench.merge(b, c, to=place / "bc")
        normzoo_bench.merge(place / "ab", c, to=place / "left")
        normzoo_bench.merge(a, place / "bc", to=place / "right")
        normzoo_bench.merge(a, b, c, to=place / "flat")
        assert in_no_order(place / "left") == in_no_order(place / "right") == in_no_order(place / "flat")


@few
@given(extensions(), extensions())
def test_merging_again_writes_nothing(one, two):
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        a, b = write_run(place / "a", *one), write_run(place / "b", *two)
        before = holds(a), holds(b)
        assert normzoo_bench.merge(a, b, to=place / "c").written > 0
        merged = holds(place / "c")
        for folders in ((a, b), (b, a), (place / "c",), (a,)):
            assert normzoo_bench.merge(*folders, to=place / "c").written == 0
        assert holds(place / "c") == merged
        assert (holds(a), holds(b)) == before
        assert not (a / ".lock").exists()


def test_a_dry_run_writes_nothing_and_counts_what_it_would(a, tmp_path):
    dry = normzoo_bench.merge(a, to=tmp_path / "new", dry_run=True)
    assert not (tmp_path / "new").exists()
    assert dry.written == normzoo_bench.merge(a, to=tmp_path / "new").written == 2


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("status", ["crashed", "timeout", "error"])
def test_a_result_stands_before_a_fault_which_is_kept(run_of, tmp_path, turned, status):
    fault = fault_of(CELL, status)
    folders = [run_of("a", fault), run_of("b", record_of(CELL))]
    normzoo_bench.merge(*folders[:: -1 if turned else 1], to=tmp_path / "c")
    assert read_run(tmp_path / "c").records[CELL.id].status == "ok"
    assert (tmp_path / "c" / "cells" / "older" / f"{CELL.id}.0.json").read_text(encoding="utf-8") == fault.to_json()


@pytest.mark.parametrize("turned", [False, True])
def test_what_was_measured_stands_before_what_a_plan_had_skipped(run_of, tmp_path, turned):
    skip = record_of(CELL, status="skipped", reason="no GPU", seconds=0, metrics={}, series={})
    folders = [run_of("a", skip), run_of("b", fault_of(CELL))]
    normzoo_bench.merge(*folders[:: -1 if turned else 1], to=tmp_path / "c")
    assert read_run(tmp_path / "c").records[CELL.id].status == "crashed"
    assert not (tmp_path / "c" / "cells" / "older").exists()


def test_of_two_measurements_with_the_same_result_the_first_stands_and_the_other_is_kept(run_of, tmp_path):
    one, other = run_of("a", record_of(CELL, seconds=1)), run_of("b", record_of(CELL, seconds=2))
    assert normzoo_bench.merge(one, other, to=tmp_path / "c").kept == 1
    assert read_run(tmp_path / "c").records[CELL.id].seconds == 1
    assert b'"seconds": 2' in holds(tmp_path / "c")[f"cells/older/{CELL.id}.0.json"]


CONTRADICTIONS = {
    "test_accuracy is 0.25 and 0.5": (
        record_of(CELL, metrics={"test_accuracy": 0.25}),
        record_of(CELL, metrics={"test_accuracy": 0.5}),
    ),
    "test_loss is missing and 1.0": (
        record_of(CELL, metrics={"test_accuracy": 0.5}),
        record_of(CELL, metrics={"test_accuracy": 0.5, "test_loss": 1.0}),
    ),
    r"train_loss is a series that ends with \[1.0\] and a series that ends with \[2.0\]": (
        record_of(CELL, series={"train_loss": [1.0]}),
        record_of(CELL, series={"train_loss": [2.0]}),
    ),
    "status is ok and diverged": (record_of(CELL), record_of(CELL, status="diverged")),
    "measured on X and on Y, which may round differently": (
        record_of(CELL, metrics={"test_accuracy": 0.25}, environment=ENVIRONMENT | {"cpu": "X"}),
        record_of(CELL, metrics={"test_accuracy": 0.25000000000000006}, environment=ENVIRONMENT | {"cpu": "Y"}),
    ),
    "no two measurements of throughput are alike": (
        record_of(TIMED, metrics={"step_ms": 1.0}),
        record_of(TIMED, metrics={"step_ms": 1.1}),
    ),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_two_results_of_one_cell_that_differ_are_refused(run_of, tmp_path, what):
    one, other = CONTRADICTIONS[what]
    with pytest.raises(UsageError, match=what) as caught:
        normzoo_bench.merge(run_of("a", one), run_of("b", other), to=tmp_path / "c")
    message = str(caught.value)
    for word in (one.id, one.measure, one.settings["normalizer"], str(tmp_path / "a"), str(tmp_path / "b"), "--prefer"):
        assert word in message
    assert not (tmp_path / "c").exists()


def test_a_contradiction_says_which_cell_it_is_and_how_many_more_there_are(run_of, tmp_path):
    firsts = [record_of(cell) for cell in CELLS]
    others = [record_of(cell, metrics={"test_accuracy": 2.0}) for cell in CELLS]
    with pytest.raises(
        UsageError, match=rf"accuracy, batch_norm, seed = \d, ranks = \d+\), as they do in {len(CELLS) - 1} more"
    ):
        normzoo_bench.merge(run_of("a", *firsts), run_of("b", *others), to=tmp_path / "c")


@pytest.mark.parametrize("preferred", ["a", "b"])
def test_the_preferred_folders_records_stand_and_the_others_are_kept(run_of, tmp_path, preferred):
    values = {"a": 0.25, "b": 0.5}
    records = {name: record_of(CELL, metrics={"test_accuracy": value}) for name, value in values.items()}
    folders = [run_of(name, record) for name, record in records.items()]
    normzoo_bench.merge(*folders, to=tmp_path / "c", prefer=tmp_path / preferred)
    held = holds(tmp_path / "c")
    other = "b" if preferred == "a" else "a"
    assert held[f"cells/{CELL.id}.json"].decode() == records[preferred].to_json()
    assert held[f"cells/older/{CELL.id}.0.json"].decode() == records[other].to_json()
    # the merged folder knows the other attempt, and that it was not taken
    assert normzoo_bench.merge(*folders, to=tmp_path / "c").written == 0


def test_a_preferred_folders_fault_does_not_stand_before_a_result(run_of, tmp_path):
    normzoo_bench.merge(
        run_of("a", record_of(CELL)), run_of("b", fault_of(CELL)), to=tmp_path / "c", prefer=tmp_path / "b"
    )
    assert read_run(tmp_path / "c").records[CELL.id].status == "ok"


def test_two_sources_of_one_normalizer_are_refused_also_where_their_cells_differ(run_of, tmp_path):
    old = record_of(CELLS[0], source_hash="01d")
    with pytest.raises(UsageError, match=r"batch_norm with different sources of it \(.*a: 01d; .*b: b1\)"):
        normzoo_bench.merge(run_of("a", old), run_of("b", record_of(CELLS[1])), to=tmp_path / "c")
    with pytest.raises(UsageError, match="batch_norm with different sources"):
        normzoo_bench.merge(tmp_path / "a", run_of("d", record_of(CELLS[0])), to=tmp_path / "c")


def test_different_data_under_one_name_are_refused(run_of, tmp_path):
    other = record_of(CELLS[0], data_fingerprint="07e4")
    with pytest.raises(UsageError, match=r"different data under the name digits \(.*a: 07e4; .*b: d161\)"):
        normzoo_bench.merge(run_of("a", other), run_of("b", record_of(CELLS[1])), to=tmp_path / "c")


def test_of_two_sources_the_preferred_folders_counts_and_what_had_the_other_is_kept_and_to_do(run_of, tmp_path):
    old = [record_of(CELLS[0], source_hash="01d"), record_of(CELLS[2], source_hash="01d")]
    a = run_of("a", *old)
    b = run_of("b", record_of(CELLS[0]), record_of(CELLS[1]))
    for folders, to in (((a, b), tmp_path / "c"), ((b,), a)):  # into a new folder, and into that of the old source
        normzoo_bench.merge(*folders, to=to, prefer=b)
        assert read_run(to).records.keys() == {CELLS[0].id, CELLS[1].id}
        held = holds(to)
        assert {held[f"cells/older/{one.id}.0.json"].decode() for one in old} == {one.to_json() for one in old}
        assert f"cells/{CELLS[2].id}.json" not in held
        assert normzoo_bench.merge(*folders, to=to, prefer=b).written == 0


def test_what_a_folder_has_replaced_is_no_contradiction_with_an_earlier_copy_of_it(run_of, tmp_path):
    before, after = record_of(CELL, source_hash="01d"), record_of(CELL, metrics={"test_accuracy": 0.5})
    copy, folder = run_of("a", before), run_of("b", after)
    put(folder, [before], older=0)
    normzoo_bench.merge(copy, folder, to=tmp_path / "c")
    assert read_run(tmp_path / "c").records[CELL.id] == after
    assert list(holds(tmp_path / "c")).count(f"cells/older/{CELL.id}.0.json") == 1


def test_earlier_attempts_of_all_folders_are_kept_once_under_numbers_of_their_own(run_of, tmp_path):
    attempts = [fault_of(CELL, reason=f"attempt {n}") for n in range(3)]
    a, b = run_of("a", record_of(CELL)), run_of("b", record_of(CELL))
    put(a, attempts[:1], older=0), put(b, attempts[:1], older=1), put(b, attempts[1:2], older=0)
    c = run_of("c", attempts[2])
    merged = normzoo_bench.merge(a, b, c, to=tmp_path / "d")
    older = {name: text.decode() for name, text in holds(tmp_path / "d").items() if "older" in name}
    assert older.keys() == {f"cells/older/{CELL.id}.{n}.json" for n in range(3)}
    assert set(older.values()) == {one.to_json() for one in attempts}
    assert merged.kept == 3


def test_records_of_earlier_plans_are_joined_too(run_of, tmp_path):
    (more,) = [cell for cell in suite(normalizers=["layer_norm"], seeds=1).cells() if cell.measure != "accuracy"]
    normzoo_bench.merge(run_of("a", record_of(more)), to=tmp_path / "c")
    assert holds(tmp_path / "c")[f"cells/{more.id}.json"].decode() == record_of(more).to_json()
    assert read_run(tmp_path / "c").records == {}


@pytest.mark.parametrize("half", ["", "{", '{"schema": 1}', record_of(CELLS[1]).to_json()])
def test_a_record_that_cannot_be_read_is_named_left_out_and_counted_as_missing(a, run_of, tmp_path, half):
    b = run_of("b")
    (b / "cells" / f"{CELL.id}.json").write_text(half, encoding="utf-8")
    alone = normzoo_bench.merge(b, to=tmp_path / "c")
    assert list(alone.unreadable) == [str(b / "cells" / f"{CELL.id}.json")]
    assert alone.to_do == normzoo_bench.status(b).to_do
    assert not list((tmp_path / "c" / "cells").glob("*.json"))
    assert f"{CELL.id}.json" in "\n".join(alone.lines)
    normzoo_bench.merge(a, b, to=tmp_path / "d")
    assert read_run(tmp_path / "d").records.keys() == {CELL.id}


def test_half_a_record_in_the_destination_is_kept_beside_the_whole_one_that_replaces_it(a, run_of):
    b = run_of("b")
    (b / "cells" / f"{CELL.id}.json").write_text("{", encoding="utf-8")
    normzoo_bench.merge(a, to=b)
    assert read_run(b).records.keys() == {CELL.id}
    assert holds(b)[f"cells/older/{CELL.id}.0.json"] == b"{"


@pytest.mark.parametrize("stop", range(7))
def test_a_merge_that_was_stopped_anywhere_leaves_a_run_folder_and_is_completed_by_the_same_command(
    run_of, tmp_path, monkeypatch, stop
):
    faults, results = [fault_of(cell) for cell in CELLS[:3]], [record_of(cell) for cell in CELLS[:3]]
    a, b = run_of("a", *faults), run_of("b", *results)
    normzoo_bench.merge(a, b, to=tmp_path / "undisturbed")
    real, left = join.write_whole, iter(range(stop))

    def stopped(file, content):
        if next(left, None) is None:
            raise KeyboardInterrupt
        real(file, content)

    monkeypatch.setattr(join, "write_whole", stopped)
    with pytest.raises(KeyboardInterrupt):
        normzoo_bench.merge(a, b, to=tmp_path / "c")
    monkeypatch.undo()
    if stop:
        read_run(tmp_path / "c")
    normzoo_bench.merge(a, b, to=tmp_path / "c")
    assert told(tmp_path / "c") == told(tmp_path / "undisturbed")
    assert len(list((tmp_path / "c" / "cells" / "older").iterdir())) == 3


def test_a_full_disk_is_told_in_a_line(a, tmp_path, monkeypatch):
    def full(file, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(join, "write_whole", full)
    with pytest.raises(UsageError, match=r"cannot write to .*c: No space left on device; .*the same command goes on"):
        normzoo_bench.merge(a, to=tmp_path / "c")


def test_a_folder_in_which_a_run_is_at_work_is_not_merged_into(a, tmp_path):
    b = write_run(tmp_path / "b", SUITE, nothing)
    runner = Leases(b, "a plan")
    runner.join()
    with pytest.raises(UsageError, match=r"a run is at work in .*b; wait for it, or choose another --to"):
        normzoo_bench.merge(a, to=b)
    runner.leave()
    assert normzoo_bench.merge(a, to=b).to_do == normzoo_bench.status(a).to_do


def test_two_merges_do_not_write_into_one_folder_at_once(a, tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "PATIENCE", 0)
    b = write_run(tmp_path / "b", SUITE, nothing)
    with files.locked(b), pytest.raises(UsageError, match=r"somebody has locked .*b, as clean and merge do"):
        normzoo_bench.merge(a, to=b)


def test_what_is_no_run_folder_is_neither_merged_nor_merged_into(a, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="is not empty and no run folder; choose another --to"):
        normzoo_bench.merge(a, to=tmp_path / "other")
    with pytest.raises(SuiteError, match=r"is no run folder: it has no run\.json"):
        normzoo_bench.merge(a, tmp_path / "other", to=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_preferred_folder_must_be_one_of_them(a, tmp_path):
    with pytest.raises(UsageError, match=r"--prefer nowhere is none of the folders; name one of .*a"):
        normzoo_bench.merge(a, to=tmp_path / "b", prefer="nowhere")


def test_kinds_of_hardware_are_told_where_there_are_several(run_of, tmp_path):
    other = record_of(CELLS[1], environment=ENVIRONMENT | {"cpu": "another processor"})
    a, b = run_of("a", record_of(CELLS[0])), run_of("b", other)
    line = "measured on 2 kinds of hardware: some processor (1 record), another processor (1 record)"
    assert line in normzoo_bench.merge(a, b, to=tmp_path / "c").lines
    assert not any(line.startswith("measured on") for line in normzoo_bench.merge(a, to=tmp_path / "d").lines)
