"""Sessions of pytest-benchmark, read beside a run's records: groups of benchmarks with their times."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from normzoo_suites import SuiteError

_LARGEST = 1e15
"""Larger numbers are no ratio, and no share of anything."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Read(BaseModel):
    """What is read of a table of the file; the rest of it is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Times(_Read):
    """The times of one benchmark, seconds per call."""

    median: Seconds
    q1: Seconds
    q3: Seconds
    rounds: Annotated[int, Field(ge=1)]


class Benchmark(_Read):
    """One benchmark.

    Attributes:
        name: as pytest names it, with its parameters.
        group: what it is to be compared with, or None.
        stats: its times.
        extra_info: what it told besides: a paired ``ratio`` with ``ratio_p10`` and ``ratio_p90``, ``share_of_limit``.

    """

    name: str
    group: str | None = None
    stats: Times
    extra_info: dict[str, Any] = {}

    @property
    def median(self) -> str:
        """The median and the quartiles, in ms."""
        ms = [f"{1e3 * value:.4g}" for value in (self.stats.median, self.stats.q1, self.stats.q3)]
        return f"{ms[0]} ms [{ms[1]}, {ms[2]}]"

    @property
    def ratio(self) -> str:
        """The paired ratio to its rival with 10th and 90th percentile, or nothing where it told none."""
        found = [self.extra_info.get(f"ratio{end}") for end in ("", "_p10", "_p90")]
        if not all(_is_number(one) for one in found):
            return ""
        return f"{found[0]:.2f}× [{found[1]:.2f}, {found[2]:.2f}] {self.extra_info.get('rival', '')}".rstrip()

    @property
    def share_of_limit(self) -> str:
        """The share of what a copy reaches, or nothing."""
        share = self.extra_info.get("share_of_limit")
        return f"{100 * float(share):.0f} %" if _is_number(share) else ""

    @property
    def label(self) -> str:
        """What it is, where its group says all else; or its whole name."""
        return str(self.extra_info.get("implementation") or self.extra_info.get("candidate") or self.name)


class _Machine(_Read):
    cpu: dict[str, Any] = {}
    python_version: str = ""


class Session(_Read):
    """One file of pytest-benchmark.

    Attributes:
        machine_info: what it ran on; the machine's name is left unread.
        datetime: when.
        benchmarks: its benchmarks, in their order.

    """

    machine_info: _Machine = _Machine()
    datetime: str = ""
    benchmarks: Annotated[list[Benchmark], Field(min_length=1)]

    @property
    def told(self) -> str:
        """Where and when it was measured, in words."""
        cpu = str(self.machine_info.cpu.get("brand_raw", ""))
        python = f"Python {self.machine_info.python_version}" if self.machine_info.python_version else ""
        return ", ".join(filter(None, (cpu, python, self.datetime.partition("T")[0])))

    @property
    def groups(self) -> dict[str, list[Benchmark]]:
        """The benchmarks by group, in the order of their first ones."""
        found: dict[str, list[Benchmark]] = {}
        for one in self.benchmarks:
            found.setdefault(one.group or "", []).append(one)
        return found


def read_sessions(files: Iterable[str | Path]) -> list[Session]:
    """Read files that ``pytest bench/ --benchmark-json=FILE`` or ``--benchmark-save`` has written.

    Raises:
        SuiteError: for a file that cannot be read, or is none of these.

    """
    return [_read(Path(file)) for file in files]


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _LARGEST  # which not-a-number is not, either


def _read(file: Path) -> Session:
    try:
        return Session.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise SuiteError(f"cannot read {file}: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise SuiteError(
            f"{file} is no file of pytest-benchmark: {place}: {first['msg'].lower()}; write one by "
            "`pytest bench/ --benchmark-json=FILE`"
        ) from None
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"cannot read {file}: it is no JSON ({str(error).partition(';')[0]})") from None
