"""What a page's script works with: every condition's settings, and the details of each record as far as there is room.

It stands in the page as JSON that no browser executes. Without a script the page tells its story all the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd
from markupsafe import Markup

from normzoo_reports import words
from normzoo_reports.load import MEASURED, load_trials, named_replicate, records, settings_of, varying
from normzoo_reports.plain import plain, printed
from normzoo_suites import Record, Run

DETAILS_UP_TO = 500
"""Records whose details stand in the page; of more it carries the tables, and says where the details are."""

_CHOICES = 60  # a list of more values is no filter, it is a search
_POINTS = 2000  # of a curve or of samples; more belong into a file, and would fill the page
_DIGITS = 6  # of a sample or a point of a curve: more is beyond any clock, and would fill the page


@dataclass(frozen=True)
class Filter:
    """A setting that tells conditions apart, and its values in words, in the suite's order."""

    key: str
    label: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Filters:
    """What a reader can narrow a page by.

    Attributes:
        normalizers: their names.
        settings: other settings that vary.
        conditions: for each condition its values of these settings, in their order; None where it has no such setting.
        numbers: by cell, the number of its condition.

    """

    normalizers: tuple[str, ...]
    settings: tuple[Filter, ...]
    conditions: tuple[tuple[str | None, ...], ...]
    numbers: dict[str, int]

    def of(self, cells: Iterable[str]) -> str:
        """Name the conditions of these cells by number, each once: "0 3"."""
        return " ".join(map(str, dict.fromkeys(self.numbers[cell] for cell in cells)))


def filters(table: pd.DataFrame, tuned: Collection[str] = ()) -> Filters:
    """Give what conditions of a run can be told apart by; what is ``tuned`` has its best value under each."""
    apart = [key for key in varying(table, settings_of(table)) if key not in tuned]
    keys = [key for key in apart if table[key].nunique() <= _CHOICES]
    told = [[_shown(row[key]) for key in keys] for row in records(table[keys])] if keys else [[] for _ in table.index]
    every = dict.fromkeys(map(tuple, told))
    places = {one: number for number, one in enumerate(every)}
    return Filters(
        tuple(dict.fromkeys(map(str, table["normalizer"]))),
        tuple(
            Filter(key, words.label(key), tuple(dict.fromkeys(_shown(value) or "" for value in table[key].dropna())))
            for key in keys
        ),
        tuple(every),
        {str(cell): places[tuple(one)] for cell, one in zip(table["id"], told, strict=True)},
    )


def _shown(value: Any) -> str | None:
    return None if pd.isna(value) else words.show_value(value)


def detailed(run: Run) -> bool:
    """Whether the details of the run's records have room in its page."""
    return len(run.records) <= DETAILS_UP_TO


def island(run: Run, table: pd.DataFrame, known: Filters) -> Markup:
    """Give the script's data as JSON that can stand in a page."""
    rows = records(table[table["status"] != "waiting"]) if detailed(run) else []
    trials = records(load_trials(run)) if detailed(run) and run.trials else []
    cells, tried = ({str(row["id"]): _details(row, run, known) for row in own} for own in (rows, trials))
    data = {
        "keys": [one.key for one in known.settings],
        "conditions": known.conditions,
        "cells": cells,
        "trials": tried,
        "logs": _logs([*cells.values(), *tried.values()]),
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # nothing in a record may end the element that it stands in
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _logs(every: Iterable[dict[str, Any]]) -> list[str]:
    """Take the logs out of details, and leave their numbers there: what was measured together has one log."""
    numbers: dict[str, int] = {}
    for told in every:
        if "log" in told:
            told["log"] = numbers.setdefault(told["log"], len(numbers))
    return list(numbers)


def _details(row: dict[str, Any], run: Run, known: Filters) -> dict[str, Any]:
    record = run.records.get(str(row["id"]))
    found = {
        "normalizer": str(row["normalizer"]),
        "name": named_replicate(row),
        "of": known.numbers.get(str(row["id"])),  # a trial is of no condition of the page
    }
    return found | (_of_record(record) if record is not None else {})


def _of_record(record: Record) -> dict[str, Any]:
    told = {
        "settings": {plain(key): words.show_value(value) for key, value in record.settings.items()},
        "source": plain(record.source_hash),
        "data": plain(record.data_fingerprint),
        "split": plain(str(record.split.get("manifest", ""))),
        "reason": plain(record.reason) if record.status not in MEASURED else "",
        "log": printed(record.log),
        "series": {plain(name): _rounded(values) for name, values in record.series.items()},
        "samples": {plain(name): _rounded(values) for name, values in record.samples.items()},
    }
    return {key: value for key, value in told.items() if value}


def _rounded(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in islice(values, _POINTS)]
