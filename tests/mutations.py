"""What hypothesis makes of a good text or a good table: cut, doubled, swapped, or with something odd put into it."""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

ODD = [
    *("\ufeff", "\x00", "\r\n", "\r", "\t", "\u2028", "\u200b", "ä", "𝔘", "\ud800", '"""', "'''", "'", '"', "\\", "#"),
    *("[", "]", "{", "}", "=", ",", ".", "nan", "inf", "-1", "0", "1e999", "9" * 400, "9" * 5000, "true", "[[grids]]"),
    *("1979-05-27T07:32:00Z", "07:32:00", "[" * 2000, "x" * 20_000, "batch_norm(", "0x7f", "1_000", "-0.0", "''"),
]
WRONG: list[Any] = [
    *(True, False, 0, -1, 1, 2, 10**9, 2**31 - 1, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e-320, 1e308),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "\x00", "\n", "x", "ä𝔘", "x" * 20_000, "accuracy", "step_ms"),
    *("a(b=1)", "a(b", "group_norm(groups=0)", "batch_norm(momentum=2)", "64x8x8", "cuda", "none", [], [[]], [1, "x"]),
    *([0.1, 0.1], ["x"] * 300, {}, {"a": 1}, {"a": {"a": {"a": []}}}, [{}], [{"normalizer": "none"}]),
]
DATES = [datetime.date(1979, 5, 27), datetime.time(7, 32), datetime.datetime(1979, 5, 27, tzinfo=datetime.UTC)]
NAMES = [
    "",
    "a",
    "ä",
    "a.b",
    "a\nb",
    "x" * 3000,
    "normalizer",
    "seed",
    "repeat",
    "ranks",
    "grid",
    "fixed",
    "axes",
    "is",
]


T = TypeVar("T")


def told(act: Callable[[], T]) -> tuple[T | None, str]:
    """Give what a call gives, or else the message of a user's mistake; any other exception is the test's failure."""
    try:
        return act(), ""
    except ValueError as error:
        if not type(error).__module__.startswith("normzoo"):
            raise
        return None, str(error)


def few(examples: int) -> settings:
    """So many examples, the same ones at every time."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def spoiled_texts(draw: st.DrawFn, texts: list[str]) -> str:
    """Spoil one of these texts in one to three places: in its letters, words, lines or blocks."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 3))):
        glue = draw(st.sampled_from(["", " ", "\n", "\n\n"]))
        pieces = text.split(glue) if glue else list(text)
        start, other = (draw(st.integers(0, len(pieces))) for _ in range(2))
        end = min(len(pieces), start + draw(st.integers(1, 8)))
        cut = pieces[start:end]
        how = draw(st.sampled_from(["drop", "double", "move", "end", "odd", "any"]))
        if how == "end":
            pieces = pieces[:start]
        elif how == "move":
            left = pieces[:start] + pieces[end:]
            pieces = left[:other] + cut + left[other:]
        else:
            strange = draw(st.sampled_from(ODD)) if how == "odd" else draw(st.text(max_size=5)) if how == "any" else ""
            pieces[start:end] = {"drop": [], "double": cut * 2}.get(how, [strange])
        text = glue.join(pieces)
    return draw(st.sampled_from([text, text, text, "\ufeff" + text, text.replace("\n", "\r\n")]))


@st.composite
def spoiled_data(draw: st.DrawFn, data: list[Any], wrong: list[Any] = WRONG) -> Any:
    """Spoil a copy of one of these tables in one to three places: a value, a key, or a list's length.

    Half the values come from where the same key stands elsewhere: they are likely to be right by themselves.
    """
    made, elsewhere = copy.deepcopy(draw(st.sampled_from(data))), _by_name(data)
    for _ in range(draw(st.integers(1, 3))):
        if places := list(_places(made)):
            table, key, name = draw(st.sampled_from(places))
            _spoil(draw, table, key, draw(st.sampled_from([wrong, elsewhere.get(name, wrong)])))
    return made


def _places(table: Any, name: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Give the tables and lists with each of their keys or numbers, and the name that stands above it."""
    for key, value in list(table.items()) if isinstance(table, dict) else list(enumerate(table)):
        own = key if isinstance(key, str) else name
        yield table, key, own
        if isinstance(value, dict | list):
            yield from _places(value, own)


def _by_name(data: list[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for table, key, name in _places(data):
        found.setdefault(name, []).append(table[key])
    return found


def _spoil(draw: st.DrawFn, table: Any, key: Any, values: list[Any]) -> None:
    how = draw(st.sampled_from(["value", "value", "value", "value", "drop", "double", "name"]))
    if how == "value":
        table[key] = copy.deepcopy(draw(st.sampled_from(values)))
    elif how == "drop":
        del table[key]
    elif isinstance(table, list):
        table.append(copy.deepcopy(table[key]))
    else:
        name = draw(st.sampled_from(NAMES))
        table[name] = table[key] if how == "double" else table.pop(key)


def toml(value: Any) -> str:
    """Spell plain data as TOML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else value.isoformat()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
