"""The values that a suite's tables may hold."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator

TABLE = ConfigDict(extra="forbid", frozen=True, strict=True)
"""How every table of a suite is read."""


def _value(given: object) -> str | int | float:
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError("must be a text or a number")
    return given


def _axis(given: object) -> list[str | int | float] | int:
    if isinstance(given, list):
        return [_value(one) for one in given]
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    raise ValueError("must be a list of values (seed and repeat also take a count)")


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", text):
        raise ValueError("must be snake_case, such as batch_size")
    return text


Value = Annotated[str | int | float, PlainValidator(_value)]
Axis = Annotated[list[Value] | int, PlainValidator(_axis)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, AfterValidator(_name)]
