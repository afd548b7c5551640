"""Suites by name or by file, and what a command line changes of them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from normzoo_suites.claim import Claim
from normzoo_suites.claims import check_claims
from normzoo_suites.errors import Place, SuiteError, explain, show, suggest
from normzoo_suites.figure import Figure
from normzoo_suites.figures import check_figures
from normzoo_suites.grid import Grid
from normzoo_suites.momentum import check_batch_sizes
from normzoo_suites.places import line_of, parse_toml
from normzoo_suites.schema import MAX_CELLS, Suite
from normzoo_suites.select import Select
from normzoo_suites.selection import check_select
from normzoo_suites.tune import Tune, change_select
from normzoo_suites.typed import typed_values
from normzoo_suites.values import Value

_TABLES: dict[str, type[BaseModel]] = {"grids": Grid, "select": Select, "claims": Claim, "figures": Figure}


def suite_names() -> list[str]:
    """Name the built-in suites."""
    files = resources.files("normzoo_suites").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_suite(name_or_path: str) -> Suite:
    """Load a built-in suite by its name, or any suite by the path of its TOML file.

    Raises:
        SuiteError: for an unknown name, TOML that does not parse, or content that is not a suite; with file and line.

    """
    if name_or_path in suite_names():
        file = resources.files("normzoo_suites") / f"{name_or_path}.toml"
        return parse_suite(file.read_text(encoding="utf-8"), f"{name_or_path}.toml")
    try:
        text = Path(name_or_path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SuiteError(f"cannot read the suite {name_or_path}: byte {error.start + 1} is not UTF-8") from None
    except (OSError, ValueError) as error:
        if name_or_path.endswith(".toml"):
            reason = getattr(error, "strerror", None) or error
            raise SuiteError(f"cannot read the suite {name_or_path}: {reason}") from None
        raise SuiteError(
            f"unknown suite {show(name_or_path)}; {suggest(name_or_path, suite_names())}, or the path of a .toml file"
        ) from None
    return parse_suite(text, name_or_path)


def parse_suite(text: str, name: str) -> Suite:
    """Read a suite's TOML text and hold its claims and figures to its grids; ``name`` is what errors call it.

    Raises:
        SuiteError: with the name and, wherever it can be found, the line.

    """
    data = parse_toml(text, name)
    try:
        suite = read_suite(data)
        cells = suite.cells()
        check_batch_sizes(suite)
        check_select(suite)
        check_claims(suite, cells)
        check_figures(suite, cells)
    except SuiteError as error:
        line = line_of(text, error.place)
        raise SuiteError(f"{name}{f', line {line}' if line else ''}: {error}", error.place) from None
    return suite


def read_suite(data: object) -> Suite:
    """Read a suite from plain data, as TOML or run.json hold it.

    Raises:
        SuiteError: when a key, a type or a value is wrong.

    """
    try:
        return Suite.model_validate(data)
    except ValidationError as error:
        raise explain(error, _keys) from None


def _keys(place: Place) -> Iterable[str]:
    """Name the keys of the table at a place of a suite."""
    table = _TABLES.get(str(place[0]), Suite) if place else Suite
    return [field.alias or name for name, field in table.model_fields.items()]


_MEANT = {"dtype": "precision", "precision": "dtype"}
"""What is called otherwise: a layer has a dtype, a model, which computes in several, a precision."""


def change_suite(
    suite: Suite,
    settings: Mapping[str, str] | None = None,
    normalizers: Sequence[str] | None = None,
    seeds: int | None = None,
    repeats: int | None = None,
    add_normalizers: Sequence[str] = (),
    tune: Tune | None = None,
) -> Suite:
    """Give the suite as a command line changes it.

    Args:
        suite: the suite as it was loaded.
        settings: by setting, the values that replace it wherever a measure has it, comma-separated.
        normalizers: what to measure instead of the suite's own.
        seeds: how many seeds, from 0.
        repeats: how many fresh processes for what is timed, from 0.
        add_normalizers: what to measure besides.
        tune: by setting, the values that ``[select]`` tries instead of its own; ``off`` tunes nothing.

    Raises:
        SuiteError: for a setting that no grid of the suite has, that is given twice, or with a value it does not take;
            for a setting that cannot be tuned.

    """
    replaced = {key: typed_values("--set", key, text) for key, text in (settings or {}).items()}
    counted = (("seed", "--seeds", seeds), ("repeat", "--repeats", repeats))
    for key, option, given in (("normalizer", "--normalizers", normalizers), *counted):
        if given is not None and key in replaced:
            raise SuiteError(f"{key} is given by --set {key}= and by {option}; keep one")
    if normalizers is not None:
        if not normalizers:
            raise SuiteError("--normalizers names none; write --normalizers one,two")
        replaced["normalizer"] = list(normalizers)
    for key, option, count in counted:
        if count is not None:
            if not 1 <= count <= MAX_CELLS:
                raise SuiteError(f"{option[2:]} must be a number from 1 to {MAX_CELLS}, got {count}")
            replaced[key] = list(range(count))
    known = {key for grid in suite.grids for key in grid.known()}
    for key in replaced:
        if key == "seed" and seeds is not None and "repeat" in known and key not in known:
            raise SuiteError(f"suite {suite.name} trains nothing, and has no seeds; --repeats says how many processes")
        if key not in known:
            meant = f"did you mean {_MEANT[key]!r}? " if _MEANT.get(key) in known else ""
            raise SuiteError(f"unknown setting {show(key)} in suite {suite.name}; {meant}{suggest(key, known)}")
    select = change_select(suite, replaced, tune)
    grids = [_change_grid(grid, replaced, add_normalizers, select.grid if select else ()) for grid in suite.grids]
    changed = suite.model_copy(update={"grids": grids, "select": select})
    changed.cells()  # complains of values that do not go together
    check_batch_sizes(changed)
    check_select(changed)
    return changed


def _change_grid(grid: Grid, replaced: Mapping[str, list[Value]], add: Sequence[str], tuned: Container[str]) -> Grid:
    values = grid.values() | {key: given for key, given in replaced.items() if key in grid.known()}
    if grid.measure == "accuracy":  # what is tuned stands in no grid
        values = {key: given for key, given in values.items() if key not in tuned}
    values["normalizer"] = list(dict.fromkeys([*values["normalizer"], *add]))
    fixed = {key: given[0] for key, given in values.items() if len(given) == 1}
    axes: dict[str, Any] = {key: given for key, given in values.items() if len(given) > 1}
    return grid.model_copy(update={"fixed": fixed, "axes": axes})
