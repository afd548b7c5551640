"""A contract result: what the contract kit found of one normalizer, as a JSON file of the run folder.

The bench writes it and reports read it, as with records: a report says of a normalizer what stands here, without torch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from normzoo_suites.errors import SuiteError, explain, show
from normzoo_suites.record import SCHEMA, as_data, encodable, parse_json

FOLDER = "contracts"
"""Where in a run folder the results lie, one file per normalizer."""

_PLAIN = re.compile(r"[a-z0-9_]{1,80}")
_TABLE = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)


class Finding(BaseModel):
    """What one check found.

    Attributes:
        check: the check's name.
        sentence: what it asks for.
        outcome: ``exempt`` is a failure that the card has a reason for; where it passes all the same, the exemption is
            ``no longer needed``, which is a fault as ``failed`` is.
        message: what is wrong; of ``exempt`` the reason; else empty.

    """

    model_config = _TABLE

    check: str
    sentence: str
    outcome: Literal["passed", "failed", "exempt", "exemption no longer needed"]
    message: str = ""

    @field_validator("message", "sentence")
    @classmethod
    def _encodable(cls, text: str) -> str:
        return encodable(text)

    @property
    def ok(self) -> bool:
        """Whether the contract is kept."""
        return self.outcome in ("passed", "exempt")


class ContractResult(BaseModel):
    """What all checks found of one normalizer; exactly these keys stand in its file.

    Attributes:
        schema_: the format's number, written as ``schema``; the same as a record's.
        normalizer: its name, and options if it was held to its contract with some, as settings spell it.
        source_hash: a hash of its source, as records have it: another version's result says nothing of this one.
        environment: versions and hardware, no path and no name of a person or machine.
        findings: one per check, in the kit's order, and one per exemption that is none.

    """

    model_config = _TABLE

    schema_: int = Field(SCHEMA, alias="schema")
    normalizer: str
    source_hash: str
    environment: dict[str, Any]
    findings: Annotated[tuple[Finding, ...], Field(min_length=1)]

    @field_validator("environment")
    @classmethod
    def _plain_data(cls, data: dict[str, Any]) -> dict[str, Any]:
        return as_data(data)

    def to_json(self) -> str:
        """Give the file's text."""
        return self.model_dump_json(indent=1)


def file_name(normalizer: str) -> str:
    """Give the name of a normalizer's file in the folder; what cannot stand in a file's name is told by a hash.

    >>> file_name("group_norm")
    'group_norm.json'
    >>> file_name("group_norm(groups=8)")
    'group_norm_groups_8-b9538486.json'
    """
    if _PLAIN.fullmatch(normalizer):
        return f"{normalizer}.json"
    words = re.sub(r"[^a-z0-9]+", "_", normalizer.lower()).strip("_")[:40]
    return f"{words}-{hashlib.sha256(normalizer.encode(errors='surrogatepass')).hexdigest()[:8]}.json"


def read_result(text: str | bytes, name: str) -> ContractResult:
    """Read a contract result's file; ``name`` is what to call it in an error.

    Raises:
        SuiteError: when it is not a whole result of a schema that is known.

    """
    what = f"the contract result {name}"
    try:
        return ContractResult.model_validate(parse_json(text, what))
    except ValidationError as error:
        fault = explain(error, lambda place: _keys(Finding if place else ContractResult))
        raise SuiteError(f"cannot read {what}: {fault}; `normzoo check` writes it anew") from None


def _keys(table: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in table.model_fields.items()]


def read_results(folder: Path, normalizers: Iterable[str]) -> tuple[dict[str, ContractResult], dict[str, str]]:
    """Read a run folder's contract results of these normalizers, each as its settings spell it.

    Give the readable ones, and what is wrong with the others, both by normalizer. One without a file is in neither.
    """
    results, unreadable = {}, {}
    for normalizer in dict.fromkeys(normalizers):
        file = folder / FOLDER / file_name(normalizer)
        try:
            result = read_result(file.read_bytes(), file.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            unreadable[normalizer] = f"cannot read the contract result {file.name}: {error.strerror}"
        except SuiteError as error:
            unreadable[normalizer] = str(error)
        else:
            if result.normalizer == normalizer:
                results[normalizer] = result
            else:
                other = show(result.normalizer)
                unreadable[normalizer] = f"the contract result {file.name} is of another normalizer, {other}"
    return results, unreadable
