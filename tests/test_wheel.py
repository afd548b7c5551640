"""The wheel: what is in it, and that it works where there is no checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from email import message_from_bytes
from importlib.metadata import distribution as metadata_of
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from normzoo_suites import load_suite

HOUSE = Path(__file__).parent.parent
ROOMS = {"normzoo", "normzoo_bench", "normzoo_suites", "normzoo_reports"}
NORMALIZERS = {"batch_norm", "sync_batch_norm", "layer_norm", "group_norm", "batch_renorm", "none"}
SUITES = {file.stem for file in (HOUSE / "suites" / "normzoo_suites").glob("*.toml")}


def call(*words: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command where no checkout can be imported from; give what it printed."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=kept | environment,
        capture_output=True, text=True, encoding="utf-8", timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def required(wheel: Path) -> set[str]:
    """The distributions that the wheel requires, and theirs in turn: without extras, so without the tests' tools."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        direct = message_from_bytes(archive.read(metadata)).get_all("Requires-Dist") or []
    waiting = [(text, "") for text in direct]
    seen: set[tuple[str, str]] = set()
    while waiting:
        text, extra = waiting.pop()
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in {"", *requirement.extras} - {extra for name, extra in seen if name == requirement.name}:
            seen.add((requirement.name, wanted))
            waiting += [(text, wanted) for text in metadata_of(requirement.name).requires or []]
    return {name for name, _ in seen}


def link(names: set[str], packages: Path) -> None:
    """Put an installed distribution's modules into another environment: as links, since torch alone fills gigabytes."""
    for name in names:
        for file in metadata_of(name).files or []:
            place = packages / file.parts[0]
            if file.parts[0] != ".." and not place.exists():  # ".." begins a program's path
                place.symlink_to(Path(str(metadata_of(name).locate_file(file.parts[0]))))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, HOUSE, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def content(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and nothing else in it; its dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("site")
    call(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel, cwd=folder)
    return folder


def test_the_wheel_holds_the_four_packages_and_nothing_beside_them(content: set[str]) -> None:
    top = {name.partition("/")[0] for name in content}
    (info,) = (name for name in top if name.endswith(".dist-info"))
    assert top == ROOMS | {info}


def test_the_wheel_leaves_no_file_of_the_packages_behind(content: set[str]) -> None:
    for root in ("", "bench", "suites", "reports"):
        for room in ROOMS:
            for file in (HOUSE / root / room).rglob("*") if (HOUSE / root / room).is_dir() else ():
                if file.is_file() and "__pycache__" not in file.parts:
                    assert file.relative_to(HOUSE / root).as_posix() in content


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_package_says_that_it_is_typed(content: set[str], room: str) -> None:
    assert f"{room}/py.typed" in content


def test_the_wheel_holds_suites_and_templates(content: set[str]) -> None:
    assert {f"normzoo_suites/{name}.toml" for name in SUITES} <= content
    assert any(name.startswith("normzoo_reports/templates/") for name in content)
    assert any(name.startswith("normzoo/templates/") for name in content)


def test_the_wheel_lists_its_normalizers_and_suites_from_an_unrelated_folder(site: Path, tmp_path: Path) -> None:
    listed = call(sys.executable, "-m", "normzoo_bench.cli", "list", "--json", cwd=tmp_path, PYTHONPATH=str(site))
    assert {row["name"] for row in json.loads(listed)["normalizers"]} >= NORMALIZERS
    assert {row["name"] for row in json.loads(listed)["suites"]} == SUITES
    program = f"from importlib.util import find_spec; print(*(find_spec(name).origin for name in {sorted(ROOMS)}))"
    files = call(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(site)).split()
    assert [Path(file).parent.parent for file in files] == [site] * 4


@pytest.mark.slow
def test_the_wheel_works_where_only_its_requirements_are_installed(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv")
    programs = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    packages = call(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path)
    link(required(wheel), Path(packages.strip()))
    call(
        sys.executable, "-m", "pip", "--python", programs / "python",
        "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path,
    )  # fmt: skip
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    listed = json.loads(call(programs / "normzoo", "list", "--json", cwd=elsewhere))
    assert {row["name"] for row in listed["normalizers"]} >= NORMALIZERS
    assert f"quick: {len(load_suite('quick').cells())} cells" in call(
        programs / "normzoo", "plan", "quick", cwd=elsewhere
    )
    ran = call(
        programs / "normzoo", "run", "quick", "--normalizers", "none", "--seeds", "1", "--out", "run", cwd=elsewhere
    )
    assert "all ended" in ran
    assert (elsewhere / "run" / "report.html").exists()
