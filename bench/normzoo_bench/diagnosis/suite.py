"""What a suite asks for, read without torch; and what a child finds of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normzoo_bench.diagnosis.children import ask
from normzoo_bench.diagnosis.finding import Finding
from normzoo_bench.errors import UsageError
from normzoo_bench.request import Request
from normzoo_suites import SuiteError, change_suite, load_suite, read_run
from normzoo_suites.settings import training_of

DEVICES = ("cpu", "cuda", "auto")
SECONDS = 900.0


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        request: the suite and what is changed of it; None for no suite.
        load: files of normalizers.
        name: the suite's name.
        cuda: whether a cell, or the command, names a GPU.
        normalizers: those of the cells.
        data: how, and which data sets.

    """

    request: Request | None
    load: tuple[str, ...] = ()
    name: str = ""
    cuda: bool = False
    normalizers: tuple[str, ...] = ()
    data: tuple[tuple[str, str], ...] = field(default=())


def wanted(request: Request) -> Wanted:
    """Read what is asked for; without torch, so that normalizers from outside and the device ``auto`` stay unknown.

    Raises:
        UsageError, SuiteError: for a mistake in the suite, or in what is changed of it.

    """
    if request.device not in (None, *DEVICES):
        raise UsageError(f"device is one of {', '.join(DEVICES)}, got {request.device!r}")
    if not request.suite:
        changes = (request.settings, request.normalizers, request.seeds, request.repeats, request.cell, request.tune)
        if any(change for change in changes):
            raise UsageError("settings change a suite, and none is named; name one, such as: normzoo doctor quick")
        return Wanted(None, request.load, cuda=request.device == "cuda")
    if request.device and "device" in request.settings:
        raise UsageError("device is given by --set device= and by --device; keep one")
    device = {"device": request.device} if request.device in ("cpu", "cuda") else {}
    settings = {**request.settings, **device}
    own = load_suite(request.suite)
    suite = change_suite(own, settings, request.normalizers, request.seeds, request.repeats, tune=request.tune)
    asked = [cell.settings for cell in suite.cells()]
    data = ((one.data, one.dataset) for one in map(training_of, asked) if one is not None)
    return Wanted(
        request,
        request.load,
        suite.name,
        any(one.device == "cuda" for one in asked),
        tuple(dict.fromkeys(one.normalizer for one in asked)),
        tuple(dict.fromkeys(data)),
    )


def folder_of_a_run(folder: Path, suite: str) -> Iterator[Finding]:
    """See whose run a folder holds already."""
    if not (folder / "run.json").exists():
        return
    try:
        found = read_run(folder)
    except SuiteError as error:
        yield Finding("run folder", "warning", str(error))
        return
    if suite and found.suite.name != suite:
        text = f"{folder} holds a run of the suite {found.suite.name}, and not of {suite}"
        yield Finding("run folder", "fault", text, "choose another folder with --out")


def planned(asked: Wanted, out: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look at normalizers, data and plan, in a process of its own; nothing is fetched, and nothing is left behind.

    Raises:
        UsageError: for a normalizer that is not known, or a file of normalizers that cannot be loaded.

    """
    with tempfile.TemporaryDirectory(prefix="normzoo-doctor-", ignore_cleanup_errors=True) as scratch:
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        answers = ask("planned", _told(asked, out, scratch, environment), SECONDS, offline)
    for said in answers.said:
        if "usage" in said:
            raise UsageError(said["usage"])
        yield Finding(**said["finding"])
    if answers.ended:
        text = f"could not be planned to the end, in a process of its own: {answers.ended}"
        yield Finding("plan", "fault", text, f"normzoo plan {asked.name}, in the open, may say more")


def _told(asked: Wanted, out: Path, scratch: str, environment: Mapping[str, str]) -> dict[str, Any]:
    request = asked.request
    kept = ("settings", "normalizers", "seeds", "repeats", "device", "load", "cell", "tune")
    forbidden = environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return {
        "suite": request.suite if request else None,
        "out": os.fspath(out),
        "load": asked.load,
        "normalizers": asked.normalizers,
        "data": asked.data,
        "request": {key: getattr(request, key) for key in kept} if request else {},
        "scratch": scratch,
        "hub": "" if forbidden else environment.get("HF_ENDPOINT", "https://huggingface.co"),
    }
