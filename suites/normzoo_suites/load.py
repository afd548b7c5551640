"""Suites by name or by file, and what a command line changes of them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from normzoo_suites.calls import split_commas
from normzoo_suites.claims import check_claims
from normzoo_suites.errors import SuiteError, explain, suggest, telling
from normzoo_suites.schema import Claim, Figure, Grid, Suite, Value

_KEYS = {
    "grids": set(Grid.model_fields),
    "claims": set(Claim.model_fields) - {"is_"} | {"is"},
    "figures": set(Figure.model_fields),
}


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
    path = Path(name_or_path)
    if not path.is_file():
        raise SuiteError(f"unknown suite {name_or_path!r}; {suggest(name_or_path, suite_names())}, or a .toml file")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"cannot read the suite {name_or_path}: {error}") from None
    return parse_suite(text, name_or_path)


def parse_suite(text: str, name: str) -> Suite:
    """Read a suite's TOML text and hold its claims to its grids; ``name`` is what errors call it."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"{name}: not valid TOML: {error}") from None
    suite = _validate(data, text, name)
    try:
        check_claims(suite)
    except SuiteError as error:
        raise SuiteError(f"{name}: {error}") from None
    return suite


def change_suite(
    suite: Suite,
    settings: Mapping[str, str] | None = None,
    normalizers: Sequence[str] | None = None,
    seeds: int | None = None,
    add_normalizers: Sequence[str] = (),
) -> Suite:
    """Give the suite as a command line changes it.

    Args:
        suite: the suite as it was loaded.
        settings: by setting, the values that replace it wherever a measure has it, comma-separated.
        normalizers: what to measure instead of the suite's own.
        seeds: how many seeds, from 0.
        add_normalizers: what to measure besides.

    Raises:
        SuiteError: for a setting that no grid of the suite has.

    """
    replaced: dict[str, list[Value]] = {key: _values(key, text) for key, text in (settings or {}).items()}
    if normalizers is not None:
        replaced["normalizer"] = list(normalizers)
    if seeds is not None:
        if seeds < 1:
            raise SuiteError(f"seeds must be at least 1, got {seeds}")
        replaced["seed"] = list(range(seeds))
    known = {key for grid in suite.grids for key in grid.known()}
    for key in replaced:
        if key not in known:
            raise SuiteError(f"unknown setting {key!r} in suite {suite.name}; {suggest(key, known)}")
    grids = [_change_grid(grid, replaced, add_normalizers) for grid in suite.grids]
    return suite.model_copy(update={"grids": grids})


def _change_grid(grid: Grid, replaced: Mapping[str, list[Value]], add: Sequence[str]) -> Grid:
    values = grid.values() | {key: given for key, given in replaced.items() if key in grid.known()}
    values["normalizer"] += [name for name in add if name not in values["normalizer"]]
    fixed = {key: given[0] for key, given in values.items() if len(given) == 1}
    axes = {key: given for key, given in values.items() if len(given) > 1}
    return grid.model_copy(update={"fixed": fixed, "axes": axes})


def _values(key: str, text: str) -> list[Value]:
    pieces = split_commas(text)
    if not pieces:
        raise SuiteError(f"--set {key}= has no value; write --set {key}=value or {key}=one,two")
    return [_number(piece) for piece in pieces]


def _number(text: str) -> Value:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _validate(data: dict[str, Any], text: str, name: str) -> Suite:
    try:
        suite = Suite.model_validate(data)
        suite.cells()
    except ValidationError as error:
        detail = telling(error)
        known = _KEYS.get(str(detail["loc"][0]) if len(detail["loc"]) > 1 else "", set(Suite.model_fields))
        raise SuiteError(f"{name}{_line(text, detail['loc'], detail['msg'])}: {explain(error, known)}") from None
    except SuiteError as error:
        key = str(error).partition(":")[0]
        raise SuiteError(f"{name}{_line(text, (key,), '')}: {error}") from None
    return suite


def _line(text: str, location: tuple[str | int, ...], message: str) -> str:
    """Find the line of the key that is meant; tomllib keeps none, so the key is looked up in the text."""
    quoted = re.findall(r"'([a-z_A-Z0-9]+)'", message)
    words = [*quoted, *(str(part) for part in reversed(location) if isinstance(part, str))]
    table = next((part for part in location if isinstance(part, int)), 0)
    first = _table_start(text, str(location[0]), table) if len(location) > 1 else 0
    for word in words:
        for number, line in enumerate(text.splitlines(), start=1):
            if number > first and re.search(rf"(^|[\s{{,.\[\"']){re.escape(word)}([\s\"'\]]*=|[\"'\]])", line):
                return f", line {number}"
    return ""


def _table_start(text: str, table: str, index: int) -> int:
    starts = [n for n, line in enumerate(text.splitlines()) if line.strip().startswith(f"[[{table}]]")]
    return starts[index] if index < len(starts) else 0
