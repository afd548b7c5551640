"""Whether a suite's figures show what its grids measure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from normzoo_suites.cell import Cell
from normzoo_suites.errors import SuiteError, show, suggest
from normzoo_suites.figure import Figure
from normzoo_suites.metrics import METRICS
from normzoo_suites.readings import missing
from normzoo_suites.schema import Suite
from normzoo_suites.settings import DERIVED, MEASURES


def check_figures(suite: Suite, cells: Sequence[Cell]) -> None:
    """Hold every figure of a suite to its own grids; ``cells`` are the suite's.

    Raises:
        SuiteError: when a measure, metric or setting is unknown, no cell gives the metric, or ``where`` asks for what
            no cell has.

    """
    for number, figure in enumerate(suite.figures):
        try:
            _check_figure(figure, cells)
        except SuiteError as error:
            raise error.under("figures", number) from None


def _check_figure(figure: Figure, cells: Iterable[Cell]) -> None:
    if figure.measure not in MEASURES:
        raise SuiteError(f"unknown measure {show(figure.measure)}; {suggest(figure.measure, MEASURES)}", ("measure",))
    shown = [cell for cell in cells if cell.measure == figure.measure]
    if not shown:
        raise SuiteError(f"a figure shows {figure.measure}, which no grid of this suite measures", ("measure",))
    value, category = ("x", "y") if figure.kind == "point" else ("y", "x")
    _require(figure, value, METRICS[figure.measure], "metric")
    settings = [*MEASURES[figure.measure].model_fields, *DERIVED.get(figure.measure, ())]
    for key in (category, "hue", "facet"):
        if getattr(figure, key) is not None:
            _require(figure, key, settings, "setting")
    for key, values in figure.where.items():
        if key not in settings:
            raise SuiteError(f"unknown setting {show(key)} in where; {suggest(key, settings)}", ("where", key))
        had = {getattr(cell.settings, key) for cell in shown}
        absent = next((given for given in values if given not in had), None)
        if absent is not None or not values:
            wanted = "nothing" if absent is None else show(absent)
            raise SuiteError(f"where asks for {key} = {wanted}, which no cell has; cells have {_some(had)}", ("where",))
    _require_reading(figure, value, shown)


def _require(figure: Figure, key: str, known: Iterable[str], what: str) -> None:
    given = getattr(figure, key)
    if given not in known:
        message = f"{key} of a {figure.kind} figure is a {what} of {figure.measure}, got {show(given)}; "
        raise SuiteError(message + suggest(given, known), (key,))


def _require_reading(figure: Figure, key: str, cells: Iterable[Cell]) -> None:
    """Require that one cell at least, of those that the figure shows, gives its metric."""
    metric = getattr(figure, key)
    shown = [cell for cell in cells if all(getattr(cell.settings, one) in given for one, given in figure.where.items())]
    lacking = [missing(metric, dict(cell.settings)) for cell in shown]
    if lacking and all(lacking):
        raise SuiteError(f"no cell that it shows gives {metric}; it needs {lacking[0]}", (key,))


def _some(values: Iterable[str | int | float]) -> str:
    shown = sorted({show(value) for value in values})
    return ", ".join(shown[:8]) + (", …" if len(shown) > 8 else "")
