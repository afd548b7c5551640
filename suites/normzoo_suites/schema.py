"""What a suite file may say: a question, grids of cells, claims that can turn out false, figures.

Each class here is one table of the TOML file; an unknown key is an error. Whether claims and figures speak of what the
grids measure is held in ``claims`` and ``figures``, when a suite is loaded.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from normzoo_suites.cell import Cell
from normzoo_suites.errors import Place, SuiteError, explain, suggest
from normzoo_suites.metrics import measure_of
from normzoo_suites.settings import MEASURES, canonical_value
from normzoo_suites.values import Axis, Name, Text, Value

MAX_CELLS = 100_000
"""More cells than this are a slip of the keyboard, and would fill the memory before anyone notices."""


_TABLE = ConfigDict(extra="forbid", frozen=True, strict=True)


class Grid(BaseModel):
    """Every combination of ``axes``, each with ``fixed``. ``seed = 10`` means the seeds 0 to 9."""

    model_config = _TABLE

    measure: str
    fixed: dict[str, Value] = {}
    axes: dict[str, Axis] = {}

    @model_validator(mode="after")
    def _keys_are_settings(self) -> Grid:
        if self.measure not in MEASURES:
            raise SuiteError(f"unknown measure {self.measure!r}; {suggest(self.measure, MEASURES)}", ("measure",))
        for table in ("fixed", "axes"):
            for key in getattr(self, table):
                if key not in self.known():
                    message = f"unknown setting {key!r} of {self.measure}; {suggest(key, self.known())}"
                    raise SuiteError(message, (table, key))
        for key, values in self.axes.items():
            if fault := self._fault(key, values):
                raise SuiteError(fault, ("axes", key))
        return self

    def _fault(self, key: str, values: list[Value] | int) -> str:
        if key in self.fixed:
            return f"{key!r} is both fixed and an axis; keep one"
        if isinstance(values, int) and (key != "seed" or values < 1):
            return f"the axis {key!r} needs a list of values (only seed takes a count, from 1)"
        return f"the axis {key!r} has no values" if values == [] else ""

    def known(self) -> set[str]:
        """Name the settings of this grid's measure."""
        return set(MEASURES[self.measure].model_fields)

    def size(self) -> int:
        """Count the combinations."""
        return math.prod(values if isinstance(values, int) else len(values) for values in self.axes.values())

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
        settings = MEASURES[self.measure]
        for combination in itertools.product(*values.values()):
            try:
                checked = settings.model_validate(dict(zip(values, combination, strict=True)))
            except ValidationError as error:
                raise self._placed(explain(error, lambda _: self.known())) from None
            yield Cell(self.measure, protocol, checked)

    def _placed(self, error: SuiteError) -> SuiteError:
        key = error.place[0] if error.place else ""
        table = next((table for table in ("axes", "fixed") if key in getattr(self, table)), "")
        if table:
            return error.under(table)
        hint = f"; every cell of {self.measure} needs it, in fixed or axes" if "is missing" in str(error) else ""
        return SuiteError(f"{error}{hint}")


class Claim(BaseModel):
    """One number per seed, the metric summed over ``plus`` less that over ``minus``, held against a margin.

    ``higher`` claims that its mean is above ``margin``; ``equal`` that it lies within ± ``margin``.
    """

    model_config = _TABLE

    id: Name
    says: Text
    source: Text
    metric: str
    plus: Annotated[list[dict[str, Value]], Field(min_length=1)]
    minus: Annotated[list[dict[str, Value]], Field(min_length=1)]
    is_: Annotated[Literal["higher", "equal"], Field(alias="is")]
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @property
    def measure(self) -> str | None:
        """The measure that gives the metric, or None for a metric that no measure gives."""
        return measure_of(self.metric)

    @field_validator("plus", "minus")
    @classmethod
    def _sides_in_one_spelling(cls, sides: list[dict[str, Value]], info: ValidationInfo) -> list[dict[str, Value]]:
        measure = measure_of(info.data.get("metric", ""))
        return [_canonical(measure, side.items(), (number,)) for number, side in enumerate(sides)]

    @model_validator(mode="after")
    def _can_be_asked(self) -> Claim:
        if self.is_ == "equal" and self.margin == 0:
            raise SuiteError(
                f"the claim {self.id!r} says equal with margin 0, which no measurement can support", ("is",)
            )
        if len(self.plus) != len(self.minus):
            raise SuiteError(f"the claim {self.id!r} needs as many plus as minus, so that levels cancel", ("plus",))
        levels = Counter(side.get("normalizer") for side in self.plus)
        levels.subtract(side.get("normalizer") for side in self.minus)
        if any(levels.values()):
            raise SuiteError(
                f"the claim {self.id!r} compares levels of different normalizers at one common learning rate, which "
                "compares defaults and not layers; compare one with itself across conditions, or two such drops",
                ("plus",),
            )
        return self


class Figure(BaseModel):
    """One figure: settings and metrics by name on x and y, a colour per ``hue``, a panel per ``facet``.

    ``point`` has the metric on x, the others on y. ``where`` keeps the cells whose settings have one of the values.
    """

    model_config = _TABLE

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
            key: [_canonical(measure, [(key, value)], ())[key] for value in values] for key, values in where.items()
        }


def _canonical(measure: str | None, side: Iterable[tuple[str, Value]], place: Place) -> dict[str, Value]:
    """Spell a side's values as cells have them, so that they can be compared; what is no setting is left as it is."""
    known = MEASURES[measure].model_fields if measure in MEASURES else ()
    try:
        return {key: canonical_value(str(measure), key, value) if key in known else value for key, value in side}
    except SuiteError as error:
        raise error.under(*place) from None


class Suite(BaseModel):
    """A question, the cells that answer it, what people claim of them and how to show them."""

    model_config = _TABLE

    name: Name
    question: Text
    protocol: Annotated[int, Field(ge=1)]
    grids: Annotated[list[Grid], Field(min_length=1)]
    claims: Annotated[list[Claim], Field(max_length=12)] = []
    figures: list[Figure] = []

    def cells(self) -> list[Cell]:
        """Give the union of the grids' cells, each once, seed by seed so that a part of a run holds whole pairs.

        Raises:
            SuiteError: when a value has the wrong type or is out of range, or there are more than ``MAX_CELLS``.

        """
        count = sum(grid.size() for grid in self.grids)
        if count > MAX_CELLS:
            raise SuiteError(f"{count} cells are too many, the most is {MAX_CELLS}; name fewer values", ("grids",))
        cells: dict[str, Cell] = {}
        for number, grid in enumerate(self.grids):
            try:
                cells |= {cell.id: cell for cell in grid.cells(self.protocol)}
            except SuiteError as error:
                raise error.under("grids", number) from None
        return sorted(cells.values(), key=lambda cell: getattr(cell.settings, "seed", -1))

    def to_json(self) -> dict[str, Any]:
        """Give the form in which run.json keeps it."""
        return self.model_dump(by_alias=True)
