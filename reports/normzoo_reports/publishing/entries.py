"""What a site keeps of each report, in a small JSON file beside it: the index and the leaderboard are made of these.

They lie in a place that others may write to, so each is checked as a stranger's: one that is broken, of a newer
schema, or holds markup that no figure of ours has is named and left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from normzoo_reports.comparing.outcomes import OUTCOMES
from normzoo_reports.publishing.places import Place
from normzoo_reports.publishing.thumbnail import checked
from normzoo_reports.results import Estimate
from normzoo_reports.verdict import Outcome
from normzoo_suites import SuiteError
from normzoo_suites.settings import MEASURES

SCHEMA = 1
NAME = "entry.json"
PAGE, PARQUET, CSV = "report.html", "records.parquet", "records.csv"
OURS = (PAGE, PARQUET, CSV, NAME)
"""All that a published report consists of; `entry.json` is written last."""
_MOST = 4_000_000  # bytes; a run of 10,000 cells has a few hundred conditions at most

Setting = str | int | float | bool | None


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Finding(_Plain):
    """A verdict in few words."""

    outcome: Outcome
    says: str
    effect: str


class Thumbnail(_Plain):
    """A report's first figure, small, and what it shows in words."""

    title: str
    svg: str

    @field_validator("svg")
    @classmethod
    def _harmless(cls, svg: str) -> str:
        checked(svg, "", "")
        return svg


class Row(_Plain):
    """A normalizer's values, one for each condition; a text says why there is none."""

    normalizer: str
    values: tuple[Estimate | str, ...]


class Board(_Plain):
    """What a run has to say in a leaderboard: one measure, on one data set and model, on one machine.

    Attributes:
        measure: what was measured.
        data: hashes of the decoded data, empty where there is none.
        kind: what of it must not meet in one table, such as hot and cold layers, or empty.
        metric: which number.
        hardware: the processor that it was measured on.
        versions: by name, the versions of what it was measured with.
        tuned: the settings of which each condition has its own best value.
        conditions: the settings that are not at their defaults, the normalizer's name and repeats left out.
        note: what a reader must know of its values, or nothing.
        rows: a row per normalizer.

    """

    measure: str
    kind: str
    metric: str
    hardware: str
    data: tuple[str, ...] = ()
    versions: dict[str, tuple[str, ...]]
    tuned: tuple[str, ...]
    note: str
    conditions: tuple[dict[str, Setting], ...]
    rows: tuple[Row, ...]

    @field_validator("measure")
    @classmethod
    def _known(cls, measure: str) -> str:
        if measure not in MEASURES:
            raise ValueError(f"unknown measure {measure!r}")
        return measure

    @field_validator("metric")
    @classmethod
    def _has_a_better(cls, metric: str) -> str:
        if metric not in OUTCOMES:
            raise ValueError(f"unknown metric {metric!r}")
        return metric

    @field_validator("rows")
    @classmethod
    def _whole(cls, rows: tuple[Row, ...], info: Any) -> tuple[Row, ...]:
        if any(len(row.values) != len(info.data.get("conditions", ())) for row in rows):
            raise ValueError("a row must have a value for each condition")
        return rows


class Entry(_Plain):
    """A published report.

    Attributes:
        schema_: the format's number, written as ``schema``.
        records: a hash of all records, by which a report is known to be up to date.
        code: a hash of the code that made it.
        witnesses: hashes of some records, by which a run is told from another of its name.
        suite: the suite's name.
        question: what it asks.
        protocol: the suite's protocol.
        measured: what was measured and on what, in a line.
        statuses: cells by what became of them.
        count: how many records there are, trials among them.
        findings: the verdicts on the claims that the run could answer, in the suite's order.
        normalizers: what was compared.
        datasets: on which data.
        models: in which models.
        hardware: on which processors.
        sizes: the downloads, in bytes.
        thumbnail: the first figure, if there is one.
        boards: its part in the leaderboard.

    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal[1] = Field(1, alias="schema")
    records: str
    code: str
    witnesses: dict[str, str]
    suite: str
    question: str
    protocol: int
    measured: str
    statuses: dict[str, int]
    count: int
    findings: tuple[Finding, ...]
    normalizers: tuple[str, ...]
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    hardware: tuple[str, ...]
    sizes: dict[str, Annotated[int, Field(ge=0)]]
    thumbnail: Thumbnail | None
    boards: tuple[Board, ...]

    def to_bytes(self) -> bytes:
        """Give the file's content."""
        return (json.dumps(self.model_dump(mode="json"), ensure_ascii=True, indent=1) + "\n").encode()


@dataclass(frozen=True)
class Held:
    """The entries of a site by folder, and what is wrong with those that are left out, by file."""

    entries: dict[str, Entry]
    broken: dict[str, str]


def read_entries(place: Place, paths: set[str]) -> Held:
    """Read all entries of a place; those that cannot be read are named."""
    held = Held({}, {})
    for path in sorted(path for path in paths if path.endswith(f"/{NAME}")):
        try:
            held.entries[path.removesuffix(f"/{NAME}")] = parse(place.read(path))
        except (SuiteError, ValueError, RecursionError) as error:
            held.broken[path] = str(error) if not isinstance(error, ValidationError) else _fault(error)
    return held


def parse(content: bytes) -> Entry:
    """Read an entry.

    Raises:
        ValueError: when it is none, of a newer schema, or holds what no entry of ours holds.

    """
    if len(content) > _MOST:
        raise ValueError(f"it is larger than {_MOST:,} bytes")
    data = json.loads(content, parse_constant=_refuse)
    if not isinstance(data, dict):
        raise ValueError("it must hold an object")
    schema = data.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise ValueError(f"it has schema {schema}, this normzoo reads up to {SCHEMA}; install a newer normzoo")
    json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair could not be written to a page
    return Entry.model_validate(data)


def _fault(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'entry'}: {first['msg']}"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
