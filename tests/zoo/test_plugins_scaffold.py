"""`normzoo new`: what it writes works, and it destroys nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from normzoo import contract, plugins, scaffold


def test_a_new_normalizer_loads_and_keeps_its_contract(tmp_path: Path) -> None:
    module, _ = scaffold.new("my_2nd_norm", tmp_path)
    assert plugins.load(module) == ["my_2nd_norm"]
    faults = [finding for finding in contract.run_checks("my_2nd_norm", contract.CHECKS[:-1]) if not finding.ok]
    assert faults == []


def test_a_new_normalizers_test_passes_under_pytest(tmp_path: Path) -> None:
    """It includes the check in two processes, which load the file from its path."""
    files = scaffold.new("my_norm", tmp_path)
    assert [file.name for file in files] == ["my_norm.py", "test_my_norm.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(files[1])],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(contract.CHECKS)} passed" in done.stdout


@pytest.mark.parametrize("existing", ["my_norm.py", "test_my_norm.py"])
def test_nothing_is_overwritten_and_nothing_is_half_written(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    with pytest.raises(scaffold.ScaffoldError, match=f"{existing}' exists and is not overwritten"):
        scaffold.new("my_norm", tmp_path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(existing, "mine")]


@pytest.mark.parametrize("name", ["MyNorm", "my-norm", "2norm", "", "class", "../norm", "norm.py", "_norm", "nörm"])
def test_a_name_that_is_not_snake_case_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(scaffold.ScaffoldError, match="snake_case such as 'my_norm', got"):
        scaffold.new(name, tmp_path)


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(scaffold.ScaffoldError, match="'group_norm' is taken"):
        scaffold.new("group_norm", tmp_path)


@pytest.mark.parametrize("name", ["torch", "random", "normzoo"])
def test_a_name_that_would_hide_a_module_is_refused(tmp_path: Path, name: str) -> None:
    """torch.py beside the test would be what `import torch` finds."""
    with pytest.raises(scaffold.ScaffoldError, match=f"would hide the module '{name}'"):
        scaffold.new(name, tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(scaffold.ScaffoldError, match=r"there is no folder '.*gone'"):
        scaffold.new("my_norm", tmp_path / "gone")
