"""Words of a command line as the values that settings take."""

from __future__ import annotations

from normzoo_suites.calls import split_commas
from normzoo_suites.errors import SuiteError, show_key
from normzoo_suites.settings import MEASURES, canonical_value
from normzoo_suites.values import Value


def typed_values(option: str, key: str, text: str) -> list[Value]:
    """Read the comma-separated values of one setting, each as the type that the setting takes.

    Args:
        option: the command line's option, for errors: ``--set``.
        key: the setting.
        text: its values.

    Raises:
        SuiteError: when there is none. A value of the wrong type comes back as it is: its cells say what is wrong.

    """
    pieces = split_commas(text)
    if not pieces:
        name = show_key(key)
        raise SuiteError(f"{option} {name}= has no value; write {option} {name}=value or {name}=one,two")
    return [_typed(key, piece) for piece in pieces]


def _typed(key: str, text: str) -> Value:
    """Read a word of a command line as the type that its setting takes: 64 is a shape's text and a batch's number."""
    candidates = [number for kind in (int, float) if (number := _number(kind, text)) is not None]
    for measure in MEASURES:
        for value in (*candidates, text):
            try:
                return canonical_value(measure, key, value)
            except SuiteError:
                continue
    return candidates[0] if candidates else text  # wrong in any case; its cells say how


def _number(kind: type[int] | type[float], text: str) -> int | float | None:
    try:
        return kind(text)
    except ValueError:
        return None
