"""The one error of this room, and the words it uses to help."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


class SuiteError(ValueError):
    """Something in a suite, a setting or a record is not as it must be; the message is meant for the user."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, and which there are.

    >>> suggest("bach_size", ["batch_size", "seed"])
    "did you mean 'batch_size'? known: batch_size, seed"
    """
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(names)}"


def explain(error: ValidationError, known: Iterable[str]) -> str:
    """Turn pydantic's most telling complaint into one line that names the key, the value and what is allowed."""
    first = telling(error)
    more = error.error_count() - 1
    return _sentence(first, known) + (f" (and {more} more)" if more else "")


def telling(error: ValidationError) -> ErrorDetails:
    """Pick the complaint to show: an unknown key first, since a misspelt key is also a missing one."""
    return min(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")


def _sentence(detail: ErrorDetails, known: Iterable[str]) -> str:
    # union members appear in the location as type names such as "function-after[…]"; they say nothing to a user
    path = ".".join(str(part) for part in detail["loc"] if isinstance(part, int) or str(part).isidentifier())
    if detail["type"] == "extra_forbidden":
        key = str(detail["loc"][-1])
        return f"unknown key {key!r}; {suggest(key, known)}"
    if detail["type"] == "missing":
        return f"{path} is missing"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    # a complaint about a whole table already says which of its keys do not go together
    if isinstance(detail["input"], dict | BaseModel):
        return message
    return f"{path}: {message}, got {detail['input']!r}"
