"""Names with options, as suites and command lines write them: ``group_norm(groups=8)``."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from normzoo_suites.errors import SuiteError

Option = str | int | float | bool | None

_CALL = re.compile(r"\s*(?P<name>[^()=,]+?)\s*(?:\((?P<options>.*)\))?\s*", re.DOTALL)


@dataclass(frozen=True)
class Call:
    """A name and its options; ``str()`` gives the one canonical spelling (options sorted)."""

    name: str
    options: Mapping[str, Option] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.options:
            return self.name
        inner = ", ".join(f"{key}={_show(value)}" for key, value in sorted(self.options.items()))
        return f"{self.name}({inner})"


def parse_call(text: str) -> Call:
    """Read ``name`` or ``name(key=value, …)``; values are Python literals or bare words.

    Raises:
        SuiteError: when the text has another form.

    """
    match = _CALL.fullmatch(text)
    if match is None:
        raise SuiteError(f"cannot read {text!r}: write a name, or name(option=value)")
    options: dict[str, Option] = {}
    for part in split_commas(match["options"] or ""):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key.isidentifier() or not value:
            raise SuiteError(f"cannot read the option {part!r} in {text!r}: write name(option=value)")
        if key in options:
            raise SuiteError(f"the option {key!r} stands twice in {text!r}")
        options[key] = _literal(value)
    return Call(match["name"], options)


def split_commas(text: str) -> list[str]:
    """Cut at commas that stand outside parentheses; empty pieces are dropped."""
    pieces, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            pieces.append(text[start:position])
            start = position + 1
    return [piece.strip() for piece in [*pieces, text[start:]] if piece.strip()]


def _literal(text: str) -> Option:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        return text
    if not isinstance(value, str | int | float | bool | None):
        raise SuiteError(f"an option is a number, a word or true/false, got {text!r}")
    return value


def _show(value: Option) -> str:
    # a word that would read back as something else keeps its quotes
    return value if isinstance(value, str) and value != "" and _reads_back(value) else repr(value)


def _reads_back(word: str) -> bool:
    return not set("(),='\"") & set(word) and word == word.strip() and _literal(word) == word
