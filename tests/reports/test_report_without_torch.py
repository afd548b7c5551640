"""Reports where torch is not installed: an environment that holds what they need, and nothing else."""

from __future__ import annotations

import os
import subprocess
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

HOUSE = Path(__file__).parents[2]
RUN = HOUSE / "tests" / "suites" / "fixtures" / "schema_1" / "with_conditions"
ALWAYS = ("pydantic", "jinja2", "pandas", "matplotlib", "seaborn")
NEEDED = (*ALWAYS, "scipy")
"""The smallest set, with what these require in turn; scipy computes what a run of few seeds does not ask for."""

COMMAND_LINE = ("typer", "rich", "filelock")
"""What `normzoo report`, `figures`, `compare`, `status` and `merge` need besides."""

RENDER = """
import sys
import normzoo_reports
run, out = sys.argv[1:]
try:
    import torch
except ImportError:
    print("no torch")
print(normzoo_reports.report(run, out + "/page.html"))
print(normzoo_reports.summary(run).suite)
for kind in ("pdf", "png", "svg"):
    print(len(normzoo_reports.figures(run, out + "/figures", format=kind)), kind)
print(normzoo_reports.compare(run, run, out=out + "/compare.html").regressed)
foreign = {"torch", "timm", "normzoo", "normzoo_bench", "typer", "rich"} & set(sys.modules)
print("foreign:", *sorted(foreign))
"""

pytestmark = pytest.mark.slow


def closure(names: tuple[str, ...]) -> set[str]:
    """The distributions of these names, and what they require in turn, without extras."""
    waiting, found = list(names), set[str]()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for text in distribution(name).requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name.lower())
    return found


def environment(folder: Path, names: set[str], rooms: tuple[str, ...]) -> Path:
    """Make a virtual environment of links to installed distributions and to rooms of this house; give its Python."""
    venv.create(folder)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    packages = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    for name in names:
        for file in distribution(name).files or []:
            place = packages / file.parts[0]
            if file.parts[0] != ".." and not place.exists():  # ".." begins a program's path
                place.symlink_to(Path(str(distribution(name).locate_file(file.parts[0]))))
    for room in rooms:
        (packages / Path(room).name).symlink_to(HOUSE / room)
    return python


def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command that sees no checkout and no packages but its own environment's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        list(map(str, words)), env=kept, cwd="/", capture_output=True, text=True, timeout=300, check=False
    )


def test_a_run_is_reported_summed_up_drawn_and_compared_where_torch_is_not_installed(tmp_path: Path) -> None:
    python = environment(tmp_path / "venv", closure(NEEDED), ("suites/normzoo_suites", "reports/normzoo_reports"))
    done = call(python, "-c", RENDER, RUN, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [
        "no torch", f"{tmp_path}/page.html", "frozen", "4 pdf", "4 png", "4 svg", "False", "foreign:",
    ]  # fmt: skip
    assert "<svg" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_command_line_reports_where_torch_is_not_installed(tmp_path: Path) -> None:
    rooms = ("suites/normzoo_suites", "reports/normzoo_reports", "bench/normzoo_bench")
    python = environment(tmp_path / "venv", closure((*NEEDED, *COMMAND_LINE)), rooms)
    assert call(python, "-c", "import torch").returncode == 1
    for words in (
        ["--help"],
        ["status", RUN],
        ["report", RUN, "-o", tmp_path / "page.html"],
        ["figures", RUN, "--to", tmp_path / "figures"],
        ["compare", RUN, RUN, "-o", tmp_path / "compare.html"],
        ["merge", RUN, "--to", tmp_path / "merged"],
    ):
        done = call(python, "-m", "normzoo_bench.cli", *words)
        assert done.returncode == 0, f"{words[0]}: {done.stderr[-2000:]}"
    assert (tmp_path / "page.html").exists()


@pytest.mark.parametrize("name", ALWAYS)
def test_no_smaller_set_of_packages_renders_a_report(name: str, tmp_path: Path) -> None:
    fewer = closure(tuple(one for one in NEEDED if one != name)) - {name}
    python = environment(tmp_path / "venv", fewer, ("suites/normzoo_suites", "reports/normzoo_reports"))
    done = call(python, "-c", RENDER, RUN, tmp_path)
    assert f"No module named '{name}'" in done.stderr
