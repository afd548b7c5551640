"""A record: what one cell measured, as the one JSON file that bench writes and reports read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import from_json

from normzoo_suites.errors import NewerSchemaError, SuiteError, explain, show

SCHEMA = 1

Status = Literal["ok", "skipped", "diverged", "oom", "timeout", "crashed", "error"]
FINAL: frozenset[str] = frozenset({"ok", "skipped", "diverged", "oom"})
"""The statuses that are results; the others are faults, and `run` exits with 1."""


class Record(BaseModel):
    """One cell's result; exactly these keys stand in its file.

    JSON has no not-a-number and no infinity, and neither have records: a metric that is one is left out, series and
    samples end before their first one. A run must not stop because a measure gave one.

    Attributes:
        schema_: the format's number, written as ``schema``.
        id: the cell's id.
        suite: the suite's name.
        measure: what was measured.
        settings: every setting, defaults included.
        status: ``ok, skipped, diverged, oom, timeout, crashed`` or ``error``.
        reason: why it is not ok, else empty.
        metrics: numbers by name; units stand in the names.
        series: a number per epoch, by name.
        samples: raw samples (timings in ms), by name.
        card: what was known of the normalizer: name, paper, year, pools, options as built.
        source_hash: a hash of the normalizer's source, so that a changed one is measured anew.
        data_fingerprint: a hash of the decoded data, empty where there is none.
        split: who had which data: ``manifest``, a hash of the samples of every row, ``labels``, the rows' counts by
            class, and ``rows``, what a row is, a rank, a part of a step or a step; empty where all is iid.
        conditions: what held while it was timed: the device's clocks and heat, backends, dtypes, layouts; else empty.
        environment: versions and hardware, no path and no name of a person or machine.
        log: the end of what it printed, where it printed; cells that were measured together have one log.
        seconds: wall time of the cell.
        command: the command line that measures it again.

    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)

    schema_: int = Field(SCHEMA, alias="schema")
    id: str
    suite: str
    measure: str
    settings: dict[str, Any]
    status: Status
    reason: str = ""
    metrics: dict[str, float] = {}
    series: dict[str, list[float]] = {}
    samples: dict[str, list[float]] = {}
    card: dict[str, Any] = {}
    source_hash: str = ""
    data_fingerprint: str = ""
    split: dict[str, Any] = {}
    conditions: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    log: str = ""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    command: str = ""

    @field_validator("metrics")
    @classmethod
    def _finite(cls, metrics: dict[str, float]) -> dict[str, float]:
        if all(map(math.isfinite, metrics.values())):
            return metrics
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    @field_validator("series", "samples")
    @classmethod
    def _finite_beginnings(cls, lists: dict[str, list[float]]) -> dict[str, list[float]]:
        if all(all(map(math.isfinite, values)) for values in lists.values()):
            return lists
        return {name: list(takewhile(math.isfinite, values)) for name, values in lists.items()}

    @field_validator("settings", "card", "split", "conditions", "environment")
    @classmethod
    def _plain_data(cls, data: dict[str, Any]) -> dict[str, Any]:
        return as_data(data)

    @field_validator("reason", "log", "command")
    @classmethod
    def _encodable(cls, text: str) -> str:
        return encodable(text)

    def to_json(self) -> str:
        """Give the file's text."""
        return self.model_dump_json(indent=1)


_LARGE = 10**300  # larger numbers have more digits than readers take
_DEEP = 20  # tables in tables; a list may hold itself


def encodable(text: str) -> str:
    r"""Spell half characters (lone surrogates, as odd file names give) as ``\ud800``: no file can hold them."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def as_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """Give a table of what JSON can hold: the rest as its text."""
    if type(data) is dict and _is_plain_table(data, _DEEP):
        return data  # as nearly all data are; to copy them takes a third of the time that a record's reading does
    return {encodable(_text(key)): _plain(value) for key, value in data.items()}


def _is_plain_table(table: dict[Any, Any], depth: int) -> bool:
    """Tell whether ``as_data`` would give a table as it is."""
    for key in table:
        if type(key) is not str or not key.isascii():
            return False
    return _is_plain(table.values(), depth)


def _is_plain(values: Iterable[Any], depth: int) -> bool:
    """Tell whether ``_plain`` would give these values as they are."""
    for value in values:
        kind = type(value)
        if kind is str:
            plain = value.isascii()
        elif kind is float:
            plain = math.isfinite(value)
        elif kind is int:
            plain = abs(value) < _LARGE
        elif kind is dict:
            plain = depth > 0 and _is_plain_table(value, depth - 1)
        elif kind is list:
            plain = depth > 0 and _is_plain(value, depth - 1)
        else:
            plain = kind is bool or value is None
        if not plain:
            return False
    return True


def _plain(value: object, depth: int = _DEEP) -> Any:
    """Give what JSON can hold as it is, anything else as its text: a plugin's option may be of any type."""
    if isinstance(value, Mapping) and depth:
        return {encodable(_text(key)): _plain(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple) and depth:
        return [_plain(inner, depth - 1) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < _LARGE:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    return encodable(_text(value))


def _text(value: object) -> str:
    try:
        return "".join(str(value))  # of a text of a type of its own, the text
    except Exception:  # too many digits, or a text that the type's author got wrong
        return f"<{type(value).__name__}>"


def read_record(text: str | bytes, name: str) -> Record:
    """Read a record's file.

    Args:
        text: the file's content.
        name: what to call it in an error.

    Raises:
        SuiteError: when it is not a whole record of a schema that is known.

    """
    what = f"the record {name}"
    data = parse_json(text, what)
    if not data.keys() >= _FIRST:
        missing = next(key for key in _KEYS if key not in data and key in _FIRST)
        raise SuiteError(f"cannot read {what}: {missing} is missing")
    try:
        return Record.model_validate(data)
    except ValidationError as error:
        raise SuiteError(f"cannot read {what}: {explain(error, lambda _: _KEYS)}") from None


_KEYS = [field.alias or name for name, field in Record.model_fields.items()]
_FIRST = frozenset(_KEYS) - {"split", "conditions", "log"}
"""What records of this schema had from the beginning."""


def parse_json(text: str | bytes, what: str) -> dict[str, Any]:
    """Read an object of this schema from JSON.

    Raises:
        SuiteError: for anything else, a newer schema told apart.

    """
    try:
        data = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"cannot read {what}: not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise SuiteError(f"cannot read {what}: it must hold an object, got {show(data)}")
    schema = data.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerSchemaError(
            f"{what} has schema {schema}, this normzoo reads up to {SCHEMA}; install a newer normzoo"
        )
    if schema != SCHEMA:
        raise SuiteError(f"cannot read {what}: its schema must be {SCHEMA}, got {show(schema)}")
    return data


def _parsed(text: str | bytes) -> Any:
    """Parse JSON: what the fast parser refuses, which is less lenient, the standard library reads, or tells why not."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
