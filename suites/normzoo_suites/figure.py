"""A figure: which metric is shown against which setting."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ValidationInfo, field_validator

from normzoo_suites.settings import canonical_side
from normzoo_suites.values import TABLE, Value


class Figure(BaseModel):
    """One figure: settings and metrics by name on x and y, a colour per ``hue``, a panel per ``facet``.

    ``point`` has the metric on x, the others on y. ``where`` keeps the cells whose settings have one of the values.
    """

    model_config = TABLE

    kind: Literal["line", "bar", "point"]
    measure: str = "accuracy"
    x: str
    y: str
    hue: str = "normalizer"
    facet: str | None = None
    title: str = ""
    where: dict[str, list[Value]] = {}

    @field_validator("where")
    @classmethod
    def _where_in_one_spelling(cls, where: dict[str, list[Value]], info: ValidationInfo) -> dict[str, list[Value]]:
        measure = info.data.get("measure")
        return {
            key: [canonical_side(measure, [(key, value)], ())[key] for value in values] for key, values in where.items()
        }
