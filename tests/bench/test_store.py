"""The run folder: what it refuses, and what it remembers. Nothing is measured here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from normzoo_bench import commands
from normzoo_bench.errors import UsageError
from normzoo_bench.planner import source_hash
from normzoo_bench.running.store import Store, data_fingerprint
from normzoo_suites import Record, read_run

CLAIM = """
[[claims]]
id = "any"
says = "Eight samples are enough."
source = "this test"
metric = "test_accuracy"
plus = [{ normalizer = "batch_norm", ranks = 1 }]
minus = [{ normalizer = "batch_norm", ranks = 5 }]
is = "equal"
margin = 0.01
"""


@pytest.fixture
def suite(tiny, tmp_path):
    """A suite with a claim, and a function that writes it with another margin."""
    file = tmp_path / "tiny.toml"

    def write(margin="0.01"):
        text = Path(tiny).read_text(encoding="utf-8") + CLAIM.replace("0.01", margin)
        file.write_text(text, encoding="utf-8")
        return str(file)

    return write


def opened(folder, suite, **asked):
    store = Store(folder)
    plan = commands.plan(suite, **asked)
    store.open(plan)
    store.describe(plan, "normzoo run")
    store.close()
    return store


def measured(store, cells):
    for cell in cells:
        settings = cell.settings.model_dump()
        store.write(Record(schema=1, id=cell.id, suite="tiny", measure=cell.measure, settings=settings, status="ok"))


def own_cells(folder):
    return [cell for cell in read_run(folder).cells if not (cell.skip or cell.same_as)]


def test_claims_can_be_changed_until_something_is_measured_and_not_after(suite, tmp_path):
    folder = tmp_path / "run"
    store = opened(folder, suite("0.3"))
    opened(folder, suite("0.05"))
    measured(store, own_cells(folder)[:1])
    with pytest.raises(UsageError, match="measured under other claims, and claims are made before the run"):
        opened(folder, suite("0.01"))


def test_seeds_that_are_added_after_all_results_were_there_are_remembered_as_a_look(suite, tmp_path):
    folder = tmp_path / "run"
    store = opened(folder, suite(), seeds=2)
    measured(store, own_cells(folder))
    opened(folder, suite(), seeds=4)
    assert read_run(folder).looks == (2,)


def test_seeds_that_are_added_before_the_results_were_there_are_no_look(suite, tmp_path):
    folder = tmp_path / "run"
    store = opened(folder, suite(), seeds=2)
    measured(store, own_cells(folder)[1:])
    opened(folder, suite(), seeds=4)
    assert read_run(folder).looks == ()


def test_one_cell_measured_by_itself_leaves_the_plan_it_belongs_to_alone(suite, tmp_path):
    folder = tmp_path / "run"
    opened(folder, suite())
    before = (folder / "run.json").read_text(encoding="utf-8")
    opened(folder, suite(), cell=own_cells(folder)[0].id)
    assert (folder / "run.json").read_text(encoding="utf-8") == before


def test_a_run_of_other_cells_does_not_work_beside_one_in_its_folder(suite, tmp_path):
    first = Store(tmp_path / "run")
    first.open(commands.plan(suite()))
    with pytest.raises(UsageError, match="another run is at work"):
        opened(tmp_path / "run", suite(), seeds=3)
    first.close()
    opened(tmp_path / "run", suite(), seeds=3)


def test_a_record_that_is_replaced_is_kept_beside(suite, tmp_path):
    store = opened(tmp_path / "run", suite())
    cells = own_cells(tmp_path / "run")[:1]
    measured(store, cells), measured(store, cells), measured(store, cells)
    assert len(list((tmp_path / "run" / "cells" / "older").glob("*.json"))) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"suite": {}}', json.dumps({"suite": {"name": "other"}})])
def test_a_damaged_run_json_is_written_anew(suite, tmp_path, content):
    folder = tmp_path / "run"
    opened(folder, suite())
    (folder / "run.json").write_text(content, encoding="utf-8")
    opened(folder, suite())
    assert read_run(folder).suite.name == "tiny"


def test_a_folder_that_cannot_be_made_is_named(suite, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot write to .*choose another folder with --out"):
        opened(tmp_path / "file" / "run", suite())


@pytest.mark.parametrize(("draw", "counts"), [(None, True), ("iid", True), ("balanced", False)])
def test_a_record_from_before_a_setting_existed_counts_where_the_setting_is_at_its_default(
    suite, tmp_path, draw, counts
):
    plan = commands.plan(suite())
    store = opened(tmp_path / "run", suite())
    (cell, *_) = [cell for cell in plan.to_do() if cell.measure == "accuracy"]
    settings = cell.settings.model_dump() | {"draw": draw}
    if draw is None:
        del settings["draw"]
    store.write(
        Record(
            schema=1, id=cell.id, suite="tiny", measure="accuracy", settings=settings, status="ok",
            source_hash=source_hash(cell), data_fingerprint=data_fingerprint(plan, cell),
        )
    )  # fmt: skip
    finished, _ = store.finished(plan, frozenset())
    assert (cell.id in finished) == counts


def skipped(plan, store, seconds):
    """Write a record that says of a cell of the plan that it was skipped."""
    (cell, *_) = [cell for cell in plan.to_do() if cell.measure == "accuracy"]
    store.write(
        Record(
            schema=1, id=cell.id, suite="tiny", measure="accuracy", settings=cell.settings.model_dump(),
            status="skipped", reason="no such machine", seconds=seconds,
            source_hash=source_hash(cell), data_fingerprint=data_fingerprint(plan, cell),
        )
    )  # fmt: skip
    return cell.id


@pytest.mark.parametrize(
    ("seconds", "retry", "counts"), [(0.0, set(), False), (1.5, set(), True), (1.5, {"skipped"}, False)]
)
def test_what_a_plan_had_skipped_is_measured_once_it_can_be_and_what_a_worker_could_not_do_is_not(
    suite, tmp_path, seconds, retry, counts
):
    """A plan's skip takes no time; a worker's is a result, which --retry asks again."""
    plan = commands.plan(suite())
    store = opened(tmp_path / "run", suite())
    found = skipped(plan, store, seconds)
    assert (found in store.finished(plan, frozenset(retry))[0]) == counts
