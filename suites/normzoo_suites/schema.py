"""What a suite file may say: a question, grids of cells, claims that can turn out false, figures.

Each table of the TOML file is a class in a module of its name; an unknown key is an error. Whether claims, figures and
``[select]`` go with the grids is held in ``claims``, ``figures`` and ``selection``, when a suite is loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from normzoo_suites.cell import Cell
from normzoo_suites.claim import Claim
from normzoo_suites.errors import SuiteError
from normzoo_suites.figure import Figure
from normzoo_suites.grid import Grid
from normzoo_suites.select import Select
from normzoo_suites.settings import MEASURES
from normzoo_suites.values import TABLE, Name, Text

MAX_CELLS = 100_000
"""More cells than this are a slip of the keyboard, and would fill the memory before anyone notices."""


class Suite(BaseModel):
    """A question, the cells that answer it, what people claim of them and how to show them."""

    model_config = TABLE

    name: Name
    question: Text
    protocol: Annotated[int, Field(ge=1)]
    grids: Annotated[list[Grid], Field(min_length=1)]
    select: Select | None = None
    claims: Annotated[list[Claim], Field(max_length=12)] = []
    figures: list[Figure] = []

    def cells(self) -> list[Cell]:
        """Give the union of the grids' cells, each once: first what is timed, then trainings, seed by seed.

        So a part of a run holds whole pairs.

        Raises:
            SuiteError: when a value has the wrong type or is out of range, or there are more than ``MAX_CELLS``.

        """
        return list(self._cells)

    @functools.cached_property
    def _cells(self) -> tuple[Cell, ...]:
        count = sum(grid.size() for grid in self.grids)
        if count > MAX_CELLS:
            raise SuiteError(f"{count} cells are too many, the most is {MAX_CELLS}; name fewer values", ("grids",))
        cells: dict[Cell, None] = {}  # not by their ids, which are dear: a suite is looked at far more often than run
        for number, grid in enumerate(self.grids):
            try:
                cells |= dict.fromkeys(grid.cells(self.protocol))
            except SuiteError as error:
                raise error.under("grids", number) from None
        return tuple(sorted(cells, key=lambda cell: getattr(cell.settings, "seed", -1)))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Give a changed suite, which makes its own cells."""
        changed = super().model_copy(update=update, deep=deep)
        changed.__dict__.pop("_cells", None)
        return changed

    def repeats(self, measure: str) -> int:
        """Count the seeds, or fresh processes, that its cells of a measure have."""
        settings = MEASURES[measure]
        alone = [settings.model_fields[settings.REPLICATES].default]
        own = [grid.values().get(settings.REPLICATES, alone) for grid in self.grids if grid.measure == measure]
        return len({number for numbers in own for number in numbers})

    @property
    def replicates(self) -> str:
        """The setting that counts repeats of its experiments: seeds where it trains, else fresh processes."""
        found = {MEASURES[grid.measure].REPLICATES for grid in self.grids}
        return "seed" if "seed" in found else found.pop()

    def to_json(self) -> dict[str, Any]:
        """Give the form in which run.json keeps it."""
        return self.model_dump(by_alias=True)
