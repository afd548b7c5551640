"""What was measured on: versions and hardware; no path, no name of a person or a machine."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from importlib import metadata, resources
from pathlib import Path
from typing import Any

PACKAGES = ("normzoo", "torch", "timm", "numpy", "datasets", "scikit-learn")


@functools.lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """Describe this process's surroundings as flat names and values."""
    import torch

    found: dict[str, Any] = {name.replace("-", "_"): _version(name) for name in PACKAGES}
    found |= {
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": cores(),
        "cuda": torch.version.cuda or "" if torch.cuda.is_available() else "",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "driver": _driver() if torch.cuda.is_available() else "",
    }
    return found | _commit() | {"code": code()}


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _driver() -> str:
    import pynvml

    pynvml.nvmlInit()
    try:
        return str(pynvml.nvmlSystemGetDriverVersion())
    finally:
        pynvml.nvmlShutdown()


def _commit() -> dict[str, Any]:
    """Give the commit of the checkout that this code runs from, if it is one of this project."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists() or not (root / "pyproject.toml").exists():
        return {"commit": "", "dirty": False}
    commit = _git(root, "rev-parse", "HEAD")
    # records that a run writes into the checkout do not change what is measured
    code = ("normzoo", "bench", "suites", "pyproject.toml")
    return {"commit": commit, "dirty": bool(commit and _git(root, "status", "--porcelain", "--", *code))}


@functools.lru_cache(maxsize=1)
def code() -> str:
    """Give twelve hex digits over the sources of all rooms: numbers of other code are to be told apart."""
    digest = hashlib.sha256()
    for package in ("normzoo", "normzoo_suites", "normzoo_bench"):
        folder = Path(str(resources.files(package)))
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
