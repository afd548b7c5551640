"""Where in a TOML text a value stands. tomllib tells it for syntax errors only."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from normzoo_suites.errors import Place, SuiteError


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """Parse TOML; ``name`` is what errors call it.

    Raises:
        SuiteError: with the line, when it does not parse.

    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, at_line, where = str(error).partition(" (at line ")
        found = re.match(r"\d+", where)
        line = found[0] if at_line and found else str(max(1, text.rstrip("\n").count("\n") + 1))
        message = message.removesuffix(" (at end of document)")
        raise SuiteError(f"{name}, line {line}: not valid TOML: {message}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
        raise SuiteError(f"{name}: not valid TOML: {error}") from None


def line_of(text: str, place: Place) -> int | None:
    """Give the line, from 1, where the statement begins that sets a place of a valid TOML text.

    What does not stand in the text, such as a missing key, is told by the table that should hold it. The beginning of
    a TOML text is TOML wherever a statement ends, so the shortest one that has the place ends with the statement.
    """
    lines = text.split("\n")
    while place and not _has(lines, len(lines), place):
        place = place[:-1]
    if not place:
        return None
    low, high = 0, len(lines)  # the first `low` lines have it not, the first `high` have it
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _has(lines, middle, place) else (middle, high)
    start = high - 1
    while start > 0 and _parsed(lines, start) is None:
        start -= 1
    return start + 1


def _has(lines: list[str], count: int, place: Place) -> bool:
    while (found := _parsed(lines, count)) is None:
        count -= 1  # the line is in the middle of a statement
    for part in place:
        known = found if isinstance(found, dict) else range(len(found)) if isinstance(found, list) else ()
        if part not in known:
            return False
        found = found[part]
    return True


def _parsed(lines: list[str], count: int) -> Any:
    """Parse the first lines; None where they end in the middle of a statement."""
    try:
        return tomllib.loads("\n".join(lines[:count]))
    except tomllib.TOMLDecodeError:
        return None
