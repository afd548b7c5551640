"""Whatever becomes of the files of a run folder, `normzoo status` gives the state of the run, or says what is wrong."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from hypothesis import given
from mutations import WRONG, few, spoiled_data, spoiled_texts, told
from rich.console import Console

from normzoo_bench import commands
from normzoo_bench.terminal import print_status
from normzoo_suites import Record, parse_suite, read_run

SUITE = """
name = "tuned"
question = "What?"
protocol = 1
[select]
grid = { learning_rate = [0.1, 0.2] }
[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 2, batch_size = 40 }
axes = { normalizer = ["batch_norm", "none"], ranks = [1, 2], seed = 2 }
[[grids]]
measure = "throughput"
fixed = { normalizer = "batch_norm", batch_size = 4, shape = "8" }
"""


def record(cell):
    return Record(
        id=cell.id,
        suite="tuned",
        measure=cell.measure,
        settings=cell.settings.model_dump(),
        status="ok",
        metrics={"test_accuracy": 0.5, "validation_accuracy": 0.5, "validation_loss": 1.0},
        series={"train_loss": [2.0, 1.0]},
        card={"name": cell.settings.normalizer, "pools": ["batch"], "options": {"eps": 1e-5}},
        source_hash="35c7d0ac272c",
        environment={"torch": "2.11.0", "dirty": False},
        seconds=1.5,
        command="normzoo run tuned",
    )


def run_json():
    suite = parse_suite(SUITE, "tuned.toml")
    cells = suite.cells()
    tuned = [cell for cell in cells if cell.measure == "accuracy"]
    trials = [
        dataclasses.replace(cell, settings=cell.settings.model_copy(update=changes))
        for cell in tuned[:3]
        for changes in ({"seed": 100, "evaluate_on": "validation", "learning_rate": rate} for rate in (0.1, 0.2))
    ]
    cells[1] = dataclasses.replace(cells[1], same_as=cells[0].id, twin_of=cells[0].id)
    content = {"schema": 1, "suite": suite.to_json(), "cells": [cell.to_json() for cell in cells]}
    content |= {"trials": [cell.to_json() for cell in trials], "waiting": 2, "looks": [1], "command": "a b"}
    return content | {"sources": {"batch_norm": "35c7d0ac272c"}}, [*cells, *trials]


CONTENT, CELLS = run_json()
RECORDS = [json.loads(record(cell).to_json()) for cell in CELLS]
STRANGE = [*WRONG, None, 1e999, {"a\n": None}, ["\ud800"]]  # what else JSON can hold


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("run")
    (made / "cells").mkdir()
    return made


def write(file, text):
    file.write_bytes(text.encode("utf-8", "surrogatepass"))


def put(folder, content, first):
    """Write a run.json and the record of the first cell as they are given, all other records as they should be."""
    write(folder / "run.json", content)
    for cell, one in zip(CELLS, [first, *map(json.dumps, RECORDS[1:])], strict=True):
        write(folder / "cells" / f"{cell.id}.json", one)


def hold(folder):
    found, complaint = told(lambda: commands.status(folder))
    run, same = told(lambda: read_run(folder))
    assert complaint == same
    if found is None:
        assert "run.json" in complaint
        assert len(complaint.splitlines()) == 1
        return
    assert found.to_do >= 0
    assert all(name in reason and len(reason.splitlines()) == 1 for name, reason in found.unreadable.items())
    assert found.unreadable == run.unreadable
    print_status(Console(file=io.StringIO()), found)
    told(run.choices)


def texts(contents):
    good = [json.dumps(content) for content in contents]
    return spoiled_texts(good) | spoiled_data(contents, STRANGE).map(json.dumps)


@few(100)
@given(content=texts([CONTENT]))
def test_a_spoiled_run_json_is_a_run_or_told_in_one_line(content, folder):
    put(folder, content, json.dumps(RECORDS[0]))
    hold(folder)


@few(100)
@given(first=texts(RECORDS[:1]))
def test_a_spoiled_record_is_a_record_or_told_in_one_line_and_the_others_count(first, folder):
    put(folder, json.dumps(CONTENT), first)
    hold(folder)
    assert sum(commands.status(folder).statuses.values()) >= len(CONTENT["cells"]) - 2


@pytest.mark.parametrize("key", ["measure", "id"])
def test_a_record_that_claims_to_be_something_odd_is_told_in_one_line(key, folder):
    put(folder, json.dumps(CONTENT), json.dumps(RECORDS[0] | {key: "\n"}))
    hold(folder)
    assert f"{CELLS[0].id}.json" in read_run(folder).unreadable
