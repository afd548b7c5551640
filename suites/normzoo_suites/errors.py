"""The one error of this room, and the words it uses to help."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from pydantic import ValidationError
from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]
"""Keys and indices that lead to a value: ``("claims", 0, "margin")``."""

_TABLE_TYPES = ("dict_type", "model_type", "model_attributes_type")
_LONGEST = 60  # of a value that an error shows


class SuiteError(ValueError):
    """Something in a suite, a setting or a record is not as it must be; the message is meant for the user.

    Attributes:
        place: where in the suite it is, as far as that is known.

    """

    def __init__(self, message: str, place: Place = ()) -> None:
        super().__init__(message)
        self.place = place

    def under(self, *place: str | int) -> SuiteError:
        """Give the same complaint, its place told from further up."""
        return SuiteError(str(self), (*place, *self.place))


class NewerSchemaError(SuiteError):
    """A file was written by a newer version, which can read it."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, and which there are.

    >>> suggest("bach_size", ["batch_size", "seed"])
    "did you mean 'batch_size'? known: batch_size, seed"
    """
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(names)}"


def explain(error: ValidationError, known: Callable[[Place], Iterable[str]]) -> SuiteError:
    """Turn pydantic's most telling complaint into one line that names the key, the value and what is allowed.

    Args:
        error: what pydantic has found.
        known: gives the keys of the table at a place.

    """
    # an unknown key first, since a misspelt key is also a missing one
    detail = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    place = tuple(detail["loc"])
    own = detail.get("ctx", {}).get("error")
    if isinstance(own, SuiteError):
        return own.under(*place)
    more = error.error_count() - 1
    return SuiteError(_sentence(detail, place, known) + (f" (and {more} more)" if more else ""), place)


def _sentence(detail: ErrorDetails, place: Place, known: Callable[[Place], Iterable[str]]) -> str:
    if detail["type"] == "extra_forbidden":
        table = f" in {_path(place[:-1])}" if len(place) > 1 else ""
        return f"unknown key {show(str(place[-1]))}{table}; {suggest(str(place[-1]), known(place[:-1]))}"
    if detail["type"] == "missing":
        return f"{_path(place)} is missing"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should", "must")
    message = "must be a table" if detail["type"] in _TABLE_TYPES else message[0].lower() + message[1:]
    return f"{_path(place)}: {message}, got {show(detail['input'])}"


def _path(place: Place) -> str:
    steps = (f"[{part}]" if isinstance(part, int) else f".{show_key(part)}" for part in place)
    return "".join(steps).lstrip(".") or "this"


def show_key(key: str) -> str:
    """Show a name bare where it can stand so in a line, else as ``show`` does."""
    return key if key.isprintable() and len(key) <= _LONGEST else show(key)


def show(value: object) -> str:
    """Show a value as a suite would spell it, cut where it is long."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
