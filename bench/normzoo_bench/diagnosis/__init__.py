"""What would stop a run on this machine, found before it begins. Works where torch does not.

Nothing here imports torch: what needs it is asked of processes of their own (``imported``, ``planned``, ``data_sets``).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from normzoo_bench.caches import cache_folder
from normzoo_bench.diagnosis import disk, gpu, machine, packages, suite
from normzoo_bench.diagnosis.finding import Finding, Level, looked
from normzoo_bench.diagnosis.imported import CUDA
from normzoo_bench.diagnosis.limits import limits
from normzoo_bench.request import Request

__all__ = ["Finding", "Level", "diagnose"]


def diagnose(request: Request, out: Path | None = None) -> list[Finding]:
    """Look at this machine, and at the suite that the request names, if it names one; ``out`` is as for a run.

    Raises:
        UsageError, SuiteError: for a mistake in what was asked.

    """
    from normzoo_bench.commands import default_folder  # which imports this

    asked = suite.wanted(request)
    out = out or default_folder(asked.name, request.cell)
    said: dict[str, dict[str, Any]] = {}
    found = looked("packages", packages.versions)
    found += looked("imports", lambda: packages.imports(said))
    if CUDA in said:
        found += looked("GPU", lambda: gpu.find(said[CUDA], gpu.driver(), asked.cuda, gpu.built_in()))
    for check, look in (*_places(out, asked.name), *_machine(), ("optional packages", packages.optional)):
        found += looked(check, look)
    if asked.request or asked.load:
        found += _suite(asked, out, torch=not said.get("torch", {}).get("error", "it was not tried"))
    return found


_Check = tuple[str, Callable[[], Iterable[Finding]]]


def _places(out: Path, name: str) -> list[_Check]:
    def temporary() -> Iterable[Finding]:
        return disk.other_folder("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to another folder")

    def decoded() -> Iterable[Finding]:
        return disk.other_folder("decoded data", cache_folder(), "set NORMZOO_CACHE to another folder")

    return [
        ("run folder", lambda: disk.run_folder(out)),
        ("run folder", lambda: suite.folder_of_a_run(out, name)),
        ("temporary files", temporary),
        ("decoded data", decoded),
    ]


def _machine() -> list[_Check]:
    return [
        ("memory", lambda: machine.memory(limits())),
        ("cores", lambda: machine.processors(limits())),
        ("shared memory", machine.shared_memory),
        ("open files", machine.open_files),
        ("processes", machine.processes),
    ]


def _suite(asked: suite.Wanted, out: Path, torch: bool) -> list[Finding]:
    if torch:
        return looked("plan", lambda: suite.planned(asked, out, os.environ))
    what = asked.name or "what --load names"
    return looked("plan", lambda: _unplanned(what))


def _unplanned(what: str) -> Iterator[Finding]:
    yield Finding("plan", "warning", f"{what} was not looked at, since torch cannot be imported", "mend torch first")
