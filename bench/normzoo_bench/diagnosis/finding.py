"""What a check has found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from normzoo_bench.errors import UsageError

Level = Literal["good", "warning", "fault"]

GB = 10**9
MB = 10**6


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what was looked at, in a word or two.
        level: ``good``; ``warning``, where a run goes on and may go wrong later; or ``fault``, which stops a run.
        found: what is there.
        do: what to do about it; empty where nothing is to be done.

    """

    check: str
    level: Level
    found: str
    do: str = ""


def looked(check: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Give what a check finds; one that fails itself is a finding, too, since whoever asks has trouble enough.

    Raises:
        UsageError: for a mistake in what was asked.

    """
    found: list[Finding] = []
    try:
        found.extend(look())
    except UsageError:
        raise
    except Exception as error:
        found.append(Finding(check, "warning", f"could not be checked: {told(error)}"))
    return found


def told(error: BaseException) -> str:
    """Give an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")[:500]


def size(count: float) -> str:
    """Give a number of bytes as people say it.

    >>> size(1_234_567_890)
    '1.2 GB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
