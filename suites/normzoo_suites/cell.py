"""A cell: one resolved setting of everything, and the id that is its name on every machine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from normzoo_suites.errors import SuiteError, explain, suggest
from normzoo_suites.settings import MEASURES, Settings


@dataclass(frozen=True)
class Cell:
    """One point of a suite.

    Attributes:
        measure: what is measured, a key of ``MEASURES``.
        protocol: the suite's protocol number.
        settings: the validated settings.
        skip: why it cannot run, or None.
        same_as: the id of the cell that is the same computation by design, or None.

    """

    measure: str
    protocol: int
    settings: Settings
    skip: str | None = None
    same_as: str | None = None

    @property
    def id(self) -> str:
        """Sixteen hex digits of a hash over measure, protocol and the settings that are not at their defaults."""
        told = self.settings.model_dump(exclude_defaults=True)
        text = json.dumps([self.measure, self.protocol, told], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Give the form in which run.json keeps it."""
        return {
            "id": self.id,
            "measure": self.measure,
            "protocol": self.protocol,
            "settings": self.settings.model_dump(),
            "skip": self.skip,
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
            raise SuiteError(f"unknown measure {measure!r}; {suggest(measure, MEASURES)}")
        try:
            settings = MEASURES[measure].model_validate(data["settings"])
        except ValidationError as error:
            raise explain(error, lambda _: MEASURES[measure].model_fields) from None
        return cls(data["measure"], data["protocol"], settings, data["skip"], data["same_as"])
