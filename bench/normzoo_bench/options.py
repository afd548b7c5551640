"""Names with options, as settings spell them: which there are, and what they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from normzoo_bench.errors import UsageError
from normzoo_suites import parse_call
from normzoo_suites.calls import Option
from normzoo_suites.errors import show, suggest


@dataclass(frozen=True)
class Allowed:
    """What an option is when it is not given, and what may be given: ``says`` in words, ``fits`` as a question."""

    default: Option
    says: str
    fits: Callable[[Option], bool]


Known = Mapping[str, Mapping[str, Allowed]]
"""By name, what there is, with its options."""


class Chosen(NamedTuple):
    """A name, and all its options: as given, else as they are by default."""

    name: str
    options: dict[str, Any]


def read(kind: str, text: str, known: Known) -> Chosen:
    """Read a setting of this kind.

    Raises:
        UsageError: for an unknown name, an option that it does not have, or a value that this does not take.

    """
    call = parse_call(text)
    if call.name not in known:
        raise UsageError(f"unknown {kind} {show(call.name)}; {suggest(call.name, known)}")
    allowed = known[call.name]
    if call.options and not allowed:
        raise UsageError(f"{kind} {call.name} has no options, got {text}")
    for name, value in call.options.items():
        if name not in allowed:
            raise UsageError(f"unknown option {show(name)} of the {kind} {call.name}; {suggest(name, allowed)}")
        if not allowed[name].fits(value):
            raise UsageError(f"{name} of the {kind} {call.name} must be {allowed[name].says}, got {show(value)}")
    return Chosen(call.name, {name: one.default for name, one in allowed.items()} | dict(call.options))


def whole(default: int, most: int | None = None) -> Allowed:
    """Allow a whole number from 1, up to ``most``."""

    def fits(value: Any) -> bool:
        return _is_number(value) and value >= 1 and value % 1 == 0 and (most is None or value <= most)

    return Allowed(default, "a whole number from 1" + (f" to {most}" if most else ""), fits)


def number(default: float, most: float, least: float | None = None) -> Allowed:
    """Allow a number above 0, or from ``least`` on, up to ``most``."""
    low = "above 0" if least is None else f"from {least:g}"

    def fits(value: Any) -> bool:
        return _is_number(value) and (value > 0 if least is None else value >= least) and value <= most

    return Allowed(default, f"a number {low} up to {most:g}", fits)


def word(default: str, *others: str) -> Allowed:
    """Allow one of these words."""
    words = (default, *others)
    return Allowed(default, f"one of {', '.join(words)}", lambda value: value in words)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
