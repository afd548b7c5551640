"""A record: what one cell measured, as the one JSON file that bench writes and reports read."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from normzoo_suites.errors import SuiteError, explain

SCHEMA = 1

Status = Literal["ok", "skipped", "diverged", "oom", "timeout", "crashed", "error"]
FINAL: frozenset[str] = frozenset({"ok", "skipped", "diverged", "oom"})
"""The statuses that are results; the others are faults, and `run` exits with 1."""


class Record(BaseModel):
    """One cell's result; exactly these keys stand in its file.

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
        environment: versions and hardware, no path and no name of a person or machine.
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
    environment: dict[str, Any] = {}
    seconds: float = 0.0
    command: str = ""

    def to_json(self) -> str:
        """Give the file's text. Not-a-number never stands in it: a metric that has no value is left out."""
        return self.model_dump_json(indent=1)


def read_record(text: str | bytes, name: str) -> Record:
    """Read a record's file.

    Args:
        text: the file's content.
        name: what to call it in an error.

    Raises:
        SuiteError: when it is not a whole record of a schema that is known.

    """
    try:
        record = Record.model_validate_json(text)
    except ValidationError as error:
        raise SuiteError(f"cannot read the record {name}: {explain(error, Record.model_fields)}") from None
    if record.schema_ > SCHEMA:
        raise SuiteError(
            f"the record {name} has schema {record.schema_}, this normzoo reads up to {SCHEMA}; install a newer normzoo"
        )
    return record
