"""Which cells of two runs pair, and why some must not: other protocols, other data, nothing in common."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from normzoo_reports import words
from normzoo_reports.load import load_frame, records, settings_of, varying
from normzoo_suites import Call, Run, SuiteError, parse_call

_SOUGHT = 200  # conditions of each side among which the nearest are sought: all of two large runs would take minutes


@dataclass(frozen=True)
class Paired:
    """Two runs, A the baseline, whose cells pair by id.

    Attributes:
        a: the baseline's run.
        b: the other run.
        rows_a: the paired cells of A as ``load_frame`` gives them, less those that are the same computation as another.
        rows_b: the same cells of B, in the same order.
        alone_a: the cells that A alone holds, as ``load_frame`` gives them.
        shared: how many cells of both are the same computation as another, in A and in B.
        only_a: by name in words, how many cells A alone holds.
        only_b: the same of B.
        keys: by measure, the settings that tell conditions apart in either run.

    """

    a: Run
    b: Run
    rows_a: pd.DataFrame
    rows_b: pd.DataFrame
    alone_a: pd.DataFrame
    shared: int
    only_a: Mapping[str, int]
    only_b: Mapping[str, int]
    keys: Mapping[str, list[str]]


def pair(a: Run, b: Run) -> Paired:
    """Pair the cells of two runs by id: the same measure, protocol and settings, seed or repeat among them.

    Raises:
        SuiteError: when the runs are of different protocols, a data set's name stands for other data in B than in A,
            or they share no cell; it names what differs.

    """
    _refuse_other_protocols(a, b)
    _refuse_other_data(a, b)
    table_a, table_b = load_frame(a), load_frame(b)
    both = [one for one in table_a.index if one in table_b.index]
    if not both:
        raise SuiteError(_nothing_shared(a, b))
    keys = _keys(pd.concat([table_a, table_b]))
    twins = [one for one in both if table_a.at[one, "same_as"] and table_b.at[one, "same_as"]]
    ids = [one for one in both if one not in set(twins)]
    alone_a, alone_b = (table.loc[~table.index.isin(both)] for table in (table_a, table_b))
    return Paired(
        a,
        b,
        table_a.loc[ids],
        table_b.loc[ids],
        alone_a,
        len(twins),
        _named(alone_a, keys),
        _named(alone_b, keys),
        keys,
    )


def _refuse_other_protocols(a: Run, b: Run) -> None:
    """Numbers of different protocols are not comparable: the suite was changed, and said so."""
    if a.suite.protocol != b.suite.protocol:
        raise SuiteError(
            f"A is of protocol {a.suite.protocol} (suite {a.suite.name}), B of protocol {b.suite.protocol} "
            f"(suite {b.suite.name}): their numbers are not comparable; measure one of them again by the other's suite"
        )


def _refuse_other_data(a: Run, b: Run) -> None:
    """A data set's name, of a folder without its fingerprint, must stand for the same data on both sides."""
    in_a, in_b = _data(a), _data(b)
    for name in sorted(in_a.keys() & in_b.keys()):
        if not in_a[name] & in_b[name]:
            raise SuiteError(
                f"the data set {name} is not the same data: fingerprint {words.listed(sorted(in_a[name]))} in A, "
                f"{words.listed(sorted(in_b[name]))} in B; measure one of them again with the other's data"
            )
    for one in a.records.keys() & b.records.keys():
        first, second = a.records[one], b.records[one]
        if first.data_fingerprint and second.data_fingerprint not in ("", first.data_fingerprint):
            raise SuiteError(
                f"cell {one} was measured on other data: the data set {first.settings.get('dataset')} has fingerprint "
                f"{first.data_fingerprint} in A, {second.data_fingerprint} in B; measure it again on the same data"
            )


def _data(run: Run) -> dict[str, set[str]]:
    """Give, by data set as a user names it, the fingerprints of the decoded data that its cells were measured on."""
    found: dict[str, set[str]] = {}
    for cell in run.cells:
        record = run.records.get(cell.id)
        settings = cell.settings.model_dump()
        if record and record.data_fingerprint and "dataset" in settings:
            call = parse_call(settings["dataset"])
            name = str(Call(call.name.partition("@")[0], call.options))  # a folder's name holds its fingerprint
            name += " (streamed)" * (settings["data"] == "stream")  # which is fingerprinted in another way
            found.setdefault(name, set()).add(record.data_fingerprint)
    return found


def _keys(table: pd.DataFrame) -> dict[str, list[str]]:
    return {str(measure): varying(rows, settings_of(rows)) for measure, rows in table.groupby("measure", sort=False)}


def _named(rows: pd.DataFrame, keys: Mapping[str, list[str]]) -> dict[str, int]:
    """Count cells by measure, normalizer and condition: "accuracy, batch_norm, ranks 20 (2 each)"."""
    names = (
        ", ".join(
            filter(None, (str(row["measure"]), str(row["normalizer"]), words.condition(row, keys[row["measure"]])))
        )
        for row in records(rows)
    )
    return dict(Counter(names))


def _nothing_shared(a: Run, b: Run) -> str:
    """Say why no cell of A is one of B: by measure, or by the settings in which the nearest two differ."""
    told = f"A (suite {a.suite.name}) and B (suite {b.suite.name}) share no cell"
    first, second = _conditions(a), _conditions(b)
    pairs = ((one, other) for one in first for other in second if one["measure"] == other["measure"])
    nearest = min(pairs, key=lambda pair: len(_differing(*pair)), default=None)
    if nearest is None:
        measures = [words.listed(sorted({str(one["measure"]) for one in found})) for found in (first, second)]
        return f"{told}: A measures {measures[0] or 'nothing'}, B {measures[1] or 'nothing'}"
    one, other = nearest
    apart = [
        f"{key} ({words.show_value(one[key])} in A, {words.show_value(other[key])} in B)"
        for key in _differing(one, other)
    ]
    return f"{told}; the nearest two differ in {words.listed(apart)}"


def _conditions(run: Run) -> list[dict[str, Any]]:
    """Give the settings and measure of one cell of each condition of a run: at most so many, evenly over the run."""
    firsts: dict[str, dict[str, Any]] = {}
    for cell in run.cells:
        told = {"measure": cell.measure, **cell.settings.model_dump()}
        firsts.setdefault(json.dumps({**told, cell.settings.REPLICATES: 0}), told)
    cells = list(firsts.values())
    return cells[:: max(1, -(-len(cells) // _SOUGHT))]


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [key for key in one if one[key] != other[key]]
