"""What a suite file may say: a question, grids of cells, claims that can turn out false, figures.

Each class here is one table of the TOML file; an unknown key is an error.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from normzoo_suites.calls import parse_call
from normzoo_suites.cell import Cell
from normzoo_suites.errors import SuiteError, explain, suggest
from normzoo_suites.settings import MEASURES

Value = str | int | float
_TABLE = ConfigDict(extra="forbid", frozen=True, strict=True)


class Grid(BaseModel):
    """Every combination of ``axes``, each with ``fixed``. ``seed = 10`` means the seeds 0 to 9."""

    model_config = _TABLE

    measure: str
    fixed: dict[str, Value] = {}
    axes: dict[str, list[Value] | int] = {}

    @model_validator(mode="after")
    def _keys_are_settings(self) -> Grid:
        if self.measure not in MEASURES:
            raise ValueError(f"unknown measure {self.measure!r}; {suggest(self.measure, MEASURES)}")
        for key, values in self.axes.items():
            if key in self.fixed:
                raise ValueError(f"{key!r} is both fixed and an axis; keep one")
            if isinstance(values, int) and (key != "seed" or values < 1):
                raise ValueError(f"the axis {key!r} needs a list of values (only seed takes a count, from 1)")
            if values == []:
                raise ValueError(f"the axis {key!r} has no values")
        for key in (*self.fixed, *self.axes):
            if key not in self.known():
                raise ValueError(f"unknown setting {key!r} of {self.measure}; {suggest(key, self.known())}")
        return self

    def known(self) -> set[str]:
        """Name the settings of this grid's measure."""
        return set(MEASURES[self.measure].model_fields)

    def values(self) -> dict[str, list[Value]]:
        """Give each setting that the grid names with the values that it takes."""
        fixed = {key: [value] for key, value in self.fixed.items()}
        return fixed | {key: list(range(v)) if isinstance(v, int) else list(v) for key, v in self.axes.items()}

    def cells(self, protocol: int) -> Iterator[Cell]:
        """Yield the grid's cells.

        Raises:
            SuiteError: when a value has the wrong type or is out of range.

        """
        values = self.values()
        for combination in itertools.product(*values.values()):
            settings = dict(zip(values, combination, strict=True))
            try:
                checked = MEASURES[self.measure].model_validate(settings)
            except ValidationError as error:
                raise SuiteError(explain(error, self.known())) from None
            yield Cell(self.measure, protocol, checked)


class Claim(BaseModel):
    """One number per seed, the metric summed over ``plus`` less that over ``minus``, held against a margin.

    ``higher`` claims that its mean is above ``margin``; ``equal`` that it lies within ± ``margin``.
    """

    model_config = _TABLE

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    says: str
    source: str
    metric: str
    plus: Annotated[list[dict[str, Value]], Field(min_length=1)]
    minus: Annotated[list[dict[str, Value]], Field(min_length=1)]
    is_: Annotated[Literal["higher", "equal"], Field(alias="is")]
    margin: Annotated[float, Field(ge=0)] = 0.0

    @field_validator("plus", "minus")
    @classmethod
    def _normalizers_in_one_spelling(cls, sides: list[dict[str, Value]]) -> list[dict[str, Value]]:
        return [
            {key: str(parse_call(value)) if key == "normalizer" else value for key, value in side.items()}  # type: ignore[arg-type]
            for side in sides
        ]

    @model_validator(mode="after")
    def _can_be_asked(self) -> Claim:
        if self.is_ == "equal" and self.margin == 0:
            raise ValueError(f"the claim {self.id!r} says equal with margin 0, which no measurement can support")
        if len(self.plus) != len(self.minus):
            raise ValueError(f"the claim {self.id!r} needs as many plus as minus, so that levels cancel")
        levels = Counter(side.get("normalizer") for side in self.plus)
        levels.subtract(side.get("normalizer") for side in self.minus)
        if any(levels.values()):
            raise ValueError(
                f"the claim {self.id!r} compares levels of different normalizers at one common learning rate, which "
                "compares defaults and not layers; compare one with itself across conditions, or two such drops"
            )
        return self


class Figure(BaseModel):
    """One figure of the report: settings and metrics by name on x and y, one colour per ``hue``, a panel per ``facet``."""

    model_config = _TABLE

    kind: Literal["line", "bar", "point"]
    measure: str = "accuracy"
    x: str
    y: str
    hue: str = "normalizer"
    facet: str | None = None
    title: str = ""
    where: dict[str, list[Value]] = {}


class Suite(BaseModel):
    """A question, the cells that answer it, what people claim of them and how to show them."""

    model_config = _TABLE

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    question: str
    protocol: Annotated[int, Field(ge=1)]
    grids: Annotated[list[Grid], Field(min_length=1)]
    claims: Annotated[list[Claim], Field(max_length=12)] = []
    figures: list[Figure] = []

    def cells(self) -> list[Cell]:
        """Give the union of the grids' cells, each once, seed by seed so that a part of a run holds whole pairs."""
        cells = {cell.id: cell for grid in self.grids for cell in grid.cells(self.protocol)}
        return sorted(cells.values(), key=lambda cell: getattr(cell.settings, "seed", -1))

    def to_json(self) -> dict[str, Any]:
        """Give the form in which run.json keeps it."""
        return self.model_dump(by_alias=True)
