"""Names with options, as suites and command lines write them: ``group_norm(groups=8)``."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from normzoo_suites.errors import SuiteError, show

Option = str | int | float | bool | None

_CALL = re.compile(r"(?P<name>[^()=,]*[^()=,\s])\s*(?:\((?P<options>.*)\))?")
_WORD = re.compile(r"[^()=,'\"]+")
_QUOTED = re.compile(r"(?P<quote>['\"])(?P<text>((?!(?P=quote)).)*)(?P=quote)")
_INT = re.compile(r"[+-]?[0-9]{1,300}")  # as long as a float's range
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_CONSTANTS: dict[str, Option] = {"true": True, "True": True, "false": False, "False": False, "None": None}
_EXACT = 2**53  # from here a float's neighbours are further than 1 apart


@dataclass(frozen=True)
class Call:
    """A name and its options; ``str()`` gives the one canonical spelling (options sorted, 8.0 as 8)."""

    name: str
    options: Mapping[str, Option] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.options:
            return self.name
        inner = ", ".join(f"{key}={_show(value)}" for key, value in sorted(self.options.items()))
        return f"{self.name}({inner})"


@functools.lru_cache(maxsize=1024)  # cells are many, and their texts few
def parse_call(text: str) -> Call:
    """Read ``name`` or ``name(key=value, …)``; values are numbers, true, false, None, words or quoted texts.

    Raises:
        SuiteError: when the text has another form.

    """
    match = _CALL.fullmatch(text.strip())
    if match is None or not text.isprintable():
        raise SuiteError(f"cannot read {show(text)}: write a name, or name(option=value)")
    options: dict[str, Option] = {}
    for part in filter(None, _pieces(match["options"] or "", depth=1)):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key.isidentifier() or not value:
            raise SuiteError(f"cannot read the option {show(part)} in {show(text)}: write name(option=value)")
        if key in options:
            raise SuiteError(f"the option {show(key)} stands twice in {show(text)}")
        options[key] = _literal(value)
    return Call(match["name"], options)


def split_commas(text: str) -> list[str]:
    """Cut at commas that stand outside parentheses; empty pieces are dropped."""
    return [piece for piece in _pieces(text, depth=0) if piece]


def _pieces(text: str, depth: int) -> Iterator[str]:
    """Cut at the commas of this depth; quotes count inside parentheses only, for a path may hold an apostrophe."""
    outside, start, quote = depth, 0, ""
    for position, letter in enumerate(text):
        if quote or (depth > 0 and letter in "'\""):
            quote = "" if letter == quote else quote or letter
        elif letter == "," and depth == outside:
            yield text[start:position].strip()
            start = position + 1
        else:
            depth += (letter == "(") - (letter == ")")
    yield text[start:].strip()


def _literal(text: str) -> Option:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return int(text) if _INT.fullmatch(text) else float(text)
    if quoted := _QUOTED.fullmatch(text):
        return quoted["text"]
    if _is_word(text):
        return text
    raise SuiteError(f"an option is a finite number, a word, a quoted text or true/false, got {show(text)}")


def _is_word(text: str) -> bool:
    """Tell whether a text needs no quotes to be read as itself."""
    return (
        bool(_WORD.fullmatch(text)) and text == text.strip() and text not in _CONSTANTS and not _NUMBER.fullmatch(text)
    )


def _show(value: Option) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    if not isinstance(value, str) or _is_word(value):
        return str(value)
    return f'"{value}"' if "'" in value else f"'{value}'"
