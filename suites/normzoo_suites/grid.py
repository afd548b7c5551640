"""A grid of cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from pydantic import BaseModel, ValidationError, model_validator

from normzoo_suites.cell import Cell
from normzoo_suites.errors import SuiteError, explain, show, suggest
from normzoo_suites.settings import MEASURES, Settings
from normzoo_suites.values import TABLE, Axis, Value


class Grid(BaseModel):
    """Every combination of ``axes``, each with ``fixed``. ``seed = 10`` means the seeds 0 to 9; so with ``repeat``."""

    model_config = TABLE

    measure: str
    fixed: dict[str, Value] = {}
    axes: dict[str, Axis] = {}

    @model_validator(mode="after")
    def _keys_are_settings(self) -> Grid:
        if self.measure not in MEASURES:
            raise SuiteError(f"unknown measure {show(self.measure)}; {suggest(self.measure, MEASURES)}", ("measure",))
        for table in ("fixed", "axes"):
            for key in getattr(self, table):
                if key not in self.known():
                    message = f"unknown setting {show(key)} of {self.measure}; {suggest(key, self.known())}"
                    raise SuiteError(message, (table, key))
        for key, values in self.axes.items():
            if fault := self._fault(key, values):
                raise SuiteError(fault, ("axes", key))
        return self

    def _fault(self, key: str, values: list[Value] | int) -> str:
        if key in self.fixed:
            return f"{show(key)} is both fixed and an axis; keep one"
        counted = MEASURES[self.measure].REPLICATES
        if isinstance(values, int) and (key != counted or values < 1):
            return f"the axis {show(key)} needs a list of values (only {counted} takes a count, from 1)"
        return f"the axis {show(key)} has no values" if values == [] else ""

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

    def once(self) -> Grid:
        """Give the grid with the first of its seeds, or processes, alone: a cell for each of its experiments."""
        counted = MEASURES[self.measure].REPLICATES
        return (
            self.model_copy(update={"axes": {**self.axes, counted: self.values()[counted][:1]}})
            if counted in self.axes
            else self
        )

    def cells(self, protocol: int) -> Iterator[Cell]:
        """Yield the grid's cells.

        Raises:
            SuiteError: when a value has the wrong type or is out of range.

        """
        values = self.values()
        counted = MEASURES[self.measure].REPLICATES
        own = list(values).index(counted) if counted in values else len(values)
        experiments: dict[tuple[int, ...], Settings] = {}
        replicates: dict[tuple[int, ...], int] = {}
        for places in itertools.product(*(range(len(given)) for given in values.values())):
            experiment, replicate = places[:own] + places[own + 1 :], places[own : own + 1]
            if replicate in replicates and experiment in experiments:
                checked = experiments[experiment].repeated(replicates[replicate])
            else:
                checked = self._checked({key: values[key][place] for key, place in zip(values, places, strict=True)})
                experiments[experiment], replicates[replicate] = checked, checked.replicate
            yield Cell(self.measure, protocol, checked)

    def _checked(self, told: dict[str, Value]) -> Settings:
        try:
            return MEASURES[self.measure].model_validate(told)
        except ValidationError as error:
            raise self._placed(explain(error, lambda _: self.known())) from None

    def _placed(self, error: SuiteError) -> SuiteError:
        key = error.place[0] if error.place else ""
        table = next((table for table in ("axes", "fixed") if key in getattr(self, table)), "")
        if table:
            return error.under(table)
        hint = f"; every cell of {self.measure} needs it, in fixed or axes" if "is missing" in str(error) else ""
        return SuiteError(f"{error}{hint}")
