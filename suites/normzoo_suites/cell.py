"""A cell: one resolved setting of everything, and the id that is its name on every machine."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from normzoo_suites.errors import SuiteError, explain, show, suggest
from normzoo_suites.settings import MEASURES, Settings

_TEXT = json.JSONEncoder(sort_keys=True, ensure_ascii=True)
"""What ids are hashes of, which must never change."""


@dataclass(frozen=True)
class Cell:
    """One point of a suite.

    Attributes:
        measure: what is measured, a key of ``MEASURES``.
        protocol: the suite's protocol number.
        settings: the validated settings.
        skip: why it cannot run, or None.
        twin_of: the id of the first cell that is the same computation by design, or None; it may be measured all the
            same, to show that it is so.
        same_as: ``twin_of`` where this cell is not measured but has that one's record, else None.

    """

    measure: str
    protocol: int
    settings: Settings
    skip: str | None = None
    twin_of: str | None = None
    same_as: str | None = None

    @functools.cached_property  # plans of many cells ask for it again and again
    def id(self) -> str:
        """Sixteen hex digits of a hash over measure, protocol and the settings that are not at their defaults."""
        told = self.settings.model_dump(exclude_defaults=True)
        return hashlib.sha256(_TEXT.encode([self.measure, self.protocol, told]).encode()).hexdigest()[:16]

    @property
    def computation(self) -> str:
        """The id of the computation that this cell asks for: its own, or that of the cell whose twin it is."""
        return self.twin_of or self.id

    def to_json(self) -> dict[str, Any]:
        """Give the form in which run.json keeps it."""
        return {
            "id": self.id,
            "measure": self.measure,
            "protocol": self.protocol,
            "settings": self.settings.model_dump(),
            "skip": self.skip,
            "twin_of": self.twin_of,
            "same_as": self.same_as,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Cell:
        """Read what ``to_json`` gave.

        Raises:
            SuiteError: when the measure or a setting is not known, or has no such value.
            KeyError: when a part is missing.

        """
        measure = data["measure"]
        if measure not in MEASURES:
            raise SuiteError(f"unknown measure {show(measure)}; {suggest(measure, MEASURES)}")
        try:
            settings = MEASURES[measure].model_validate(data["settings"])
        except ValidationError as error:
            raise explain(error, lambda _: MEASURES[measure].model_fields) from None
        data = {"twin_of": data["same_as"]} | data  # the first run.json had no twins that are measured all the same
        for key in ("skip", "twin_of", "same_as"):
            if not isinstance(data[key], str | None):
                raise SuiteError(f"{key} must be a text or null, got {show(data[key])}")
        return cls(data["measure"], data["protocol"], settings, data["skip"], data["twin_of"], data["same_as"])
