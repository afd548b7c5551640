"""The house: imports point one way, every public module says what it is, and light commands stay light."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from normzoo_suites import Record, load_suite

HOUSE = Path(__file__).parent.parent
ROOMS = {
    "normzoo": HOUSE / "normzoo",
    "normzoo_suites": HOUSE / "suites" / "normzoo_suites",
    "normzoo_bench": HOUSE / "bench" / "normzoo_bench",
    "normzoo_reports": HOUSE / "reports" / "normzoo_reports",
}
KNOWS = {
    "normzoo": set(),
    "normzoo_suites": set(),
    "normzoo_bench": {"normzoo", "normzoo_suites"},
    "normzoo_reports": {"normzoo_suites"},
}
# within the reports: each may import those before it, never one after it
FLOORS = ["statistics", "findings", "drawing", "page", "comparing", "publishing"]
SEES_ALL = "cli"  # a folder
NAMES_TYPES_ONLY = {"terminal.py", "compare_table.py"}  # of what the command line gives it to print
HEAVY = {"torch", "timm"}


def modules(room: str) -> list[Path]:
    found = sorted(ROOMS[room].rglob("*.py"))
    assert found, f"{room} has moved"
    return found


def imported(file: Path, types_too: bool = True) -> set[str]:
    """The top-level packages that a module imports, wherever in it; relative imports stay in the room."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if not types_too:
        tree = WithoutTypes().visit(tree)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func) and node.args:
            names |= set(re.findall(r"^\W*(\w+)", ast.unparse(node.args[0])))
    return names


class WithoutTypes(ast.NodeTransformer):
    """Drops what stands under ``if TYPE_CHECKING``."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:  # ast's own name
        return node.orelse if ast.unparse(node.test).endswith("TYPE_CHECKING") else self.generic_visit(node)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_no_room_that_it_does_not_know(room: str) -> None:
    allowed = KNOWS[room] | {room}
    for file in modules(room):
        if room == "normzoo_bench" and file.parent.name == SEES_ALL:
            continue
        types_too = not (room == "normzoo_bench" and file.name in NAMES_TYPES_ONLY)
        foreign = imported(file, types_too) & set(ROOMS) - allowed
        assert not foreign, f"{file.relative_to(HOUSE)} imports {', '.join(sorted(foreign))}"


def test_only_the_command_line_and_its_types_see_the_reports() -> None:
    seeing = {file for file in modules("normzoo_bench") if "normzoo_reports" in imported(file)}
    assert {file.name for file in seeing if file.parent.name != SEES_ALL} <= NAMES_TYPES_ONLY


def floors(file: Path) -> set[str]:
    """The folders of the reports that a module of them imports."""
    from_folders = (
        [f"{node.module}.{alias.name}" for alias in node.names]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
    )
    names = (name.split(".") for every in from_folders for name in every)
    return {name[1] for name in names if name[0] == "normzoo_reports"} & set(FLOORS)


@pytest.mark.parametrize("floor", FLOORS)
def test_a_folder_of_the_reports_imports_none_that_comes_after_it(floor: str) -> None:
    files = sorted((ROOMS["normzoo_reports"] / floor).glob("*.py"))
    assert files, f"{floor} has moved"
    for file in files:
        later = floors(file) & set(FLOORS[FLOORS.index(floor) + 1 :])
        assert not later, f"{file.relative_to(HOUSE)} imports {', '.join(sorted(later))}"


def test_every_folder_of_the_reports_has_its_floor() -> None:
    folders = {file.parent.name for file in modules("normzoo_reports")} - {"normzoo_reports"}
    assert folders == set(FLOORS)


def test_the_zoo_imports_torch_and_the_standard_library_only() -> None:
    """And Triton, which comes with torch where it has a use, in the kernels that are named after it."""
    for file in modules("normzoo"):
        known = {"normzoo", "torch"} | ({"triton"} if file.name.startswith("triton_") else set())
        foreign = imported(file) - known - sys.stdlib_module_names
        assert not foreign, f"{file.relative_to(HOUSE)} imports {', '.join(sorted(foreign))}"


def test_importing_the_zoo_imports_no_triton() -> None:
    code = "import normzoo, sys; print(*(name for name in sys.modules if 'triton_' in name and 'normzoo' in name))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert not done.stdout.strip()


@pytest.mark.parametrize("room", ["normzoo_suites", "normzoo_reports"])
def test_suites_and_reports_never_import_torch_or_timm(room: str) -> None:
    for file in modules(room):
        assert not imported(file) & HEAVY, file.relative_to(HOUSE)


def test_an_import_is_seen_wherever_it_stands(tmp_path: Path) -> None:
    """The test of the tests above."""
    file = tmp_path / "module.py"
    file.write_text(
        "import a.b\nfrom c.d import e\nfrom . import f\ndef g():\n    import h\n"
        "if TYPE_CHECKING:\n    import i\nimportlib.import_module('j.k')\n",
        encoding="utf-8",
    )
    assert imported(file) == {"a", "c", "h", "i", "j"}
    assert imported(file, types_too=False) == {"a", "c", "h", "j"}


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_says_what_it_is(room: str) -> None:
    for file in modules(room):
        said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
        assert said, f"{file.relative_to(HOUSE)} has no docstring"


def normzoo(*words: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [HOUSE, *(p.parent for p in ROOMS.values())]))}
    return subprocess.run(
        [sys.executable, *flags, "-m", "normzoo_bench.cli", *words],
        capture_output=True, text=True, encoding="utf-8", env=environment, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `quick` of which a handful of cells are said to be measured."""
    folder = tmp_path_factory.mktemp("run")
    suite = load_suite("quick")
    cells = suite.cells()
    (folder / "cells").mkdir()
    for number, cell in enumerate(cells[:20]):
        speed = {"step_ms": 2.0, "step_ms_p10": 1.0, "step_ms_p90": 3.0, "step_ms_ratio": 1.5 + number}
        speed |= {"step_ms_ratio_p10": 1.0, "step_ms_ratio_p90": 2.0, "batch_norm_step_ms": 1.0}
        metrics = speed if cell.measure == "throughput" else {"test_accuracy": 0.9, "chance_accuracy": 0.1}
        record = Record(
            id=cell.id, suite=suite.name, measure=cell.measure, settings=cell.settings.model_dump(), status="ok",
            metrics=metrics, card={"name": cell.settings.normalizer, "paper": "none", "year": 2015, "pools": []},
        )  # fmt: skip
        (folder / "cells" / f"{cell.id}.json").write_text(record.to_json(), encoding="utf-8")
    content = {
        "schema": 1,
        "suite": suite.to_json(),
        "cells": [c.to_json() for c in cells],
        "command": "normzoo run quick",
    }
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_what_only_reads_records_imports_neither_torch_nor_timm(run_folder: Path, tmp_path: Path) -> None:
    run, table, site, joined = map(str, (run_folder, tmp_path / "a.parquet", tmp_path / "site", tmp_path / "joined"))
    for words in (
        ["--help"],
        ["status", run],
        ["report", run],
        ["export", run, table],
        ["publish", run, "--to", site],
        ["merge", run, "--to", joined],
    ):
        done = normzoo(*words, flags=("-X", "importtime"))
        assert done.returncode == 0, done.stderr[-2000:]
        seen = set(re.findall(r"\|\s+(\w+)", done.stderr))
        assert "typer" in seen, "the list of imports is not where it was"
        assert not seen & HEAVY, f"{words[0]} imports {seen & HEAVY}"


def test_a_destination_that_is_none_gets_one_message_and_exit_code_2(run_folder: Path) -> None:
    done = normzoo("publish", str(run_folder), "--to", "nowhere://site")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("normzoo: cannot publish to nowhere://site: ")


def test_status_counts_the_records_of_a_run_and_names_what_is_left(run_folder: Path) -> None:
    cells = len(load_suite("quick").cells())
    done = normzoo("status", str(run_folder))
    assert f"quick: {cells} cells: 20 ok, {cells - 20} to do" in done.stdout


def test_a_users_mistake_gets_one_message_and_exit_code_2() -> None:
    done = normzoo("status", "nowhere")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        "normzoo: nowhere is no run folder: it has no run.json; `normzoo run SUITE --out nowhere` makes one"
    ]
