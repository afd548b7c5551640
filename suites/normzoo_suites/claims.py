"""Which cells a claim speaks of. The bench checks a suite with this, the report reads records with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from normzoo_suites.cell import Cell
from normzoo_suites.errors import SuiteError, suggest
from normzoo_suites.schema import Claim, Suite, Value


def side_cells(cells: Iterable[Cell], side: Mapping[str, Value]) -> dict[int, Cell]:
    """Give the cells that one side of a claim names, by seed.

    Raises:
        SuiteError: when no cell matches, or several do under one seed; the message says what they differ in.

    """
    found: dict[int, Cell] = {}
    for cell in cells:
        settings = cell.settings.model_dump()
        if any(key not in settings or settings[key] != value for key, value in side.items()):
            continue
        seed = settings.get("seed", 0)
        if seed in found:
            other = found[seed].settings.model_dump()
            differ = [key for key in settings if settings[key] != other.get(key)]
            raise SuiteError(f"{_show(side)} matches cells that differ in {', '.join(differ)}; name a value of it")
        found[seed] = cell
    if not found:
        raise SuiteError(f"{_show(side)} matches no cell")
    return found


def check_claims(suite: Suite) -> None:
    """Hold every claim of a suite to its own grids.

    Raises:
        SuiteError: when a side matches no cell or several, or both sides are the same cells.

    """
    cells = suite.cells()
    known = {key for cell in cells for key in type(cell.settings).model_fields}
    for claim in suite.claims:
        for side in (*claim.plus, *claim.minus):
            for key in side:
                if key not in known:
                    raise SuiteError(f"the claim {claim.id!r}: unknown setting {key!r}; {suggest(key, known)}")
            try:
                side_cells(cells, side)
            except SuiteError as error:
                raise SuiteError(f"the claim {claim.id!r}: {error}") from None
        if _ids(cells, claim.plus) == _ids(cells, claim.minus):
            raise SuiteError(f"the claim {claim.id!r}: both sides are the same computation")


def _ids(cells: list[Cell], sides: list[dict[str, Value]]) -> list[str]:
    return sorted(cell.id for side in sides for cell in side_cells(cells, side).values())


def _show(side: Mapping[str, Value]) -> str:
    return "{" + ", ".join(f"{key} = {value}" for key, value in side.items()) + "}"
