"""Made-up run folders: nothing is measured, and every number follows from its cell's id."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from normzoo_bench.planner import mark_same
from normzoo_suites import Cell, Record, Suite, change_suite, parse_suite
from normzoo_suites.selection import choose, resolve, trials

TEXT = """
name = "made"
question = "What do made-up numbers say?"
protocol = 1
[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 2, batch_size = 40 }
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
ranks = [1, 5, 20]
seed = 2
[[grids]]
measure = "throughput"
fixed = { shape = "8x4x4", batch_size = 4 }
[grids.axes]
normalizer = ["group_norm", "none"]
[[claims]]
id = "enough"
says = "Eight samples are enough."
source = "made up"
metric = "test_accuracy"
plus = [{ normalizer = "batch_norm", ranks = 1 }]
minus = [{ normalizer = "batch_norm", ranks = 5 }]
is = "equal"
margin = 0.01
"""
SELECT = """
[select]
grid = { learning_rate = [0.1, 0.2] }
seeds = 1
"""
SOURCES = {"batch_norm": "b1", "group_norm": "91", "layer_norm": "1a", "none": "00"}
ENVIRONMENT = {"torch": "2.11.0", "cpu": "some processor", "gpu": ""}


def suite(text: str = TEXT, **changes: Any) -> Suite:
    """Give the suite, changed as a command line would."""
    return change_suite(parse_suite(text, "made.toml"), **changes)


def record_of(cell: Cell, **told: Any) -> Record:
    """Make a cell's record up; seconds tell two measurements with the same numbers apart."""
    luck = random.Random(cell.id)
    if cell.measure == "accuracy":
        part = "validation" if cell.settings.model_dump()["evaluate_on"] == "validation" else "test"
        found = {"metrics": {f"{part}_accuracy": luck.random()}, "series": {"train_loss": [1.0, luck.random()]}}
        found["data_fingerprint"] = "d161"
    else:
        found = {"metrics": {"step_ms": 1 + luck.random()}, "samples": {"step_ms": [1.0, 2.0]}}
    found |= {"status": "ok", "seconds": 0.5, "source_hash": SOURCES.get(cell.settings.normalizer, "51")}
    settings = {"settings": cell.settings.model_dump(), "environment": ENVIRONMENT}
    return Record(id=cell.id, suite="made", measure=cell.measure, **(settings | found | told))


def fault_of(cell: Cell, status: str = "crashed", **told: Any) -> Record:
    return record_of(cell, **({"status": status, "reason": "it died", "metrics": {}, "series": {}} | told))


Make = Callable[[Cell], Record | None]


def write_run(folder: Path, asked: Suite, make: Make = record_of, **told: Any) -> Path:
    """Write a run of a suite with the records that ``make`` gives; ``told`` are parts of its run.json."""
    found: dict[str, Record] = {}
    tried: list[Cell] = []
    cells, drafts = mark_same(asked.cells()), asked.cells()
    if asked.select is not None:
        tried = mark_same(trials(asked.select, drafts))
        found |= {one.id: made for one in tried if (made := make(one)) is not None}
        cells = mark_same(resolve(asked.select, drafts, choose(asked.select, drafts, found)))
    found |= {one.id: made for one in cells if one.same_as is None and (made := make(one)) is not None}
    put(folder, found.values())
    content = {
        "schema": 1, "suite": asked.to_json(), "cells": [cell.to_json() for cell in cells],
        "trials": [cell.to_json() for cell in tried], "waiting": len(drafts) - len(cells),
        "sources": {one.settings.normalizer: SOURCES[one.settings.normalizer] for one in tried}, "looks": [],
        "command": f"normzoo run made --out {folder.name}",
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(content | told, indent=1), encoding="utf-8")
    return folder


def put(folder: Path, records: Iterable[Record], older: int | None = None) -> None:
    """Write records into a folder, or among its earlier attempts."""
    place = folder / "cells" / "older" if older is not None else folder / "cells"
    place.mkdir(parents=True, exist_ok=True)
    for record in records:
        name = f"{record.id}.json" if older is None else f"{record.id}.{older}.json"
        (place / name).write_text(record.to_json(), encoding="utf-8")


def holds(folder: Path) -> dict[str, bytes]:
    """Give all files of a folder by their names in it, but the lock."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != ".lock")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
