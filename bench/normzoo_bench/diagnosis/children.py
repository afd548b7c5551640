"""Questions to processes of their own: a library that kills its process, or never comes back, kills none of ours."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MAIN = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from normzoo_bench.diagnosis.children import answer; answer(sys.argv[2])"
)


@dataclass(frozen=True)
class Answers:
    """What a child said, and how it ended: ``ended`` is empty where it came to its end."""

    said: list[dict[str, Any]]
    ended: str


def ask(module: str, asked: object, timeout: float, environment: Mapping[str, str] | None = None) -> Answers:
    """Call ``answers(asked)`` of one of this room's modules in a process of its own.

    It imports from where this process does, as workers do: a folder that shadows a library is found so. What was said
    before it died, or was killed after ``timeout`` seconds, is kept.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", _MAIN, json.dumps(sys.path), module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    try:
        out, err = child.communicate(json.dumps(asked).encode(), timeout)
        ended = _ended(child.returncode, err.decode(errors="replace"))
    except subprocess.TimeoutExpired:
        _kill(child)
        out, _ = child.communicate()
        ended = f"it did not answer in {timeout:g} s"
    finally:
        _kill(child)
    return Answers([json.loads(line) for line in out.split(b"\n")[:-1]], ended)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill a child with its children; it leads their session, where the system has such."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


def _ended(code: int, err: str) -> str:
    if code == 0:
        return ""
    if code < 0:
        return f"it was killed by signal {-code} ({signal.Signals(-code).name})"
    last = next((line.strip() for line in reversed(err.splitlines()) if line.strip()), "")
    return f"it ended with exit code {code}" + (f": {last[:500]}" if last else "")


def answer(module: str) -> None:
    """Answer in the child, a line of JSON each; whatever else prints there must not come between."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as told:
        os.dup2(2, 1)
        for said in importlib.import_module(f"normzoo_bench.diagnosis.{module}").answers(json.load(sys.stdin)):
            told.write(json.dumps(said) + "\n")
            told.flush()
