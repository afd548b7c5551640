"""The page's plainer sections: cells without a value, cards, environments, and how to measure a cell again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from normzoo_reports import words
from normzoo_reports.findings.conditions import Conditions
from normzoo_reports.findings.contracts import Contract, contract
from normzoo_reports.load import named_replicate, records, replicates, settings_of, telling_apart, tuned
from normzoo_reports.page.records import detailed
from normzoo_reports.tables import conditions, unsynchronized
from normzoo_suites import Run

_PLAIN = ("ok", "waiting")  # what waits is told of where the tuning is
_TRAIN_ACCURACY = (
    "train_accuracy is the running accuracy of the last epoch: each batch is counted in training mode, before the step "
    "that it makes."
)


_OF_ONE_MEASURE = ("threads", "precision")
"""What environments hold of one measure's cells only: timings choose their threads, trainings have a precision."""


@dataclass(frozen=True)
class Problem:
    """Cells that came to the same end for the same reason; ``cells`` holds (id, name) pairs by condition."""

    status: str
    reason: str
    count: int
    cells: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True)
class Card:
    """What was known of a normalizer when it was measured; ``options`` holds (measure, options as built) pairs."""

    name: str
    facts: tuple[tuple[str, str], ...]
    summary: str
    options: tuple[tuple[str, str], ...]
    contract: Contract


@dataclass(frozen=True)
class Environment:
    """A machine and its versions, and how many cells were measured there."""

    cells: int
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Condition:
    """Everything measured under one condition: the settings that vary in the run, and each cell with what it gave."""

    name: str
    normalizer: str
    settings: tuple[tuple[str, str], ...]
    cells: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Again:
    """All cells of a measure: what to know of their numbers, the settings they share, and where they differ."""

    measure: str
    note: str
    shared: tuple[tuple[str, str], ...]
    conditions: tuple[Condition, ...]


def problems(run: Run, table: pd.DataFrame) -> list[Problem]:
    """Group the cells that are not plainly measured by what became of them and why."""
    rows = table[~table["status"].isin(_PLAIN)]
    found = []
    for (status, reason), group in rows.groupby(["status", "reason"], sort=False):
        found.append(Problem(str(status), str(reason), len(group), _by_condition(run, table, group)))
    return found


def _by_condition(
    run: Run, table: pd.DataFrame, group: pd.DataFrame
) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    names: dict[str, list[tuple[str, str]]] = {}
    for measure, rows in group.groupby("measure", sort=False):
        everyone = table[table["measure"] == measure]
        labels = conditions(rows, ["normalizer", *telling_apart(everyone, run)])
        for row, name in zip(records(rows), labels, strict=True):
            names.setdefault(str(name), []).append((str(row["id"]), named_replicate(row)))
    return tuple((name, tuple(cells)) for name, cells in names.items())


def cards(run: Run) -> list[Card]:
    """Give one card per normalizer, as its records hold it."""
    found: dict[str, dict[str, Any]] = {}
    options: dict[str, dict[str, list[str]]] = {}
    for cell in run.cells:
        record = run.records.get(cell.id)
        # a cell that is the same computation as another shows that one's card, which may be another normalizer's
        if record is None or not record.card or cell.same_as is not None:
            continue
        found.setdefault(cell.settings.normalizer, record.card)
        built = _flat(record.card.get("options", {}))
        seen = options.setdefault(cell.settings.normalizer, {}).setdefault(cell.measure, [])
        if built and built not in seen:
            seen.append(built)
    names = dict.fromkeys(cell.settings.normalizer for cell in run.cells)
    return [_card(name, found.get(name), options.get(name, {}), contract(run, name)) for name in names]


def _card(name: str, card: dict[str, Any] | None, options: dict[str, list[str]], held: Contract) -> Card:
    if card is None:
        return Card(name, (), "No record of its own holds its card.", (), held)
    pools = card.get("pools") or ["nothing"]
    pools = pools if isinstance(pools, list) else [pools]
    said = (
        ("paper", str(card.get("paper", "–"))),
        ("year", str(card.get("year") or "")),
        ("pools over", ", ".join(map(str, pools))),
    )
    facts = tuple(fact for fact in said if fact[1])
    every = [(measure, "; or ".join(built)) for measure, built in options.items() if built]
    # options that hold for one measure only, as the trainer sets them, are said to
    alike = len(every) == len(options) and len({built for _, built in every}) == 1
    built = (("", every[0][1]),) if alike else tuple(every)
    return Card(name, facts, str(card.get("summary", "")), built, held)


def environments(run: Run) -> list[Environment]:
    """Give the distinct environments in which the run's cells were measured, the most used first.

    Skipped cells were measured nowhere. ``threads`` is a setting of a timing, and no difference of its environment.
    """
    counts: Counter[str] = Counter()
    timed: Counter[str] = Counter()
    for cell in run.cells or run.trials:
        record = run.records.get(cell.id)
        if record is None or record.status == "skipped" or not record.environment or cell.same_as is not None:
            continue
        if "threads" in record.settings:
            timed[_key(record.environment, but=_OF_ONE_MEASURE)] += 1
        else:
            counts[_key(record.environment)] += 1
    homes = {_key(json.loads(key), but=_OF_ONE_MEASURE): key for key, _ in reversed(counts.most_common())}
    for key, number in timed.items():
        counts[homes.get(key, key)] += number
    return [Environment(number, _facts(json.loads(key))) for key, number in counts.most_common()]


def _key(environment: dict[str, Any], but: Collection[str] = ()) -> str:
    kept = {key: value for key, value in environment.items() if key not in but}
    return json.dumps(kept, sort_keys=True, default=str)


def _facts(environment: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((key, _text(value)) for key, value in environment.items() if value not in ("", None))


def differing(found: Iterable[Environment]) -> list[str]:
    """Name the facts in which environments differ."""
    facts = [dict(environment.facts) for environment in found]
    return sorted({key for one in facts for key in one for other in facts if other.get(key) != one[key]})


def again(run: Run, table: pd.DataFrame) -> list[Again]:
    """Give every cell with its settings, its numbers and its command, by measure and condition.

    Cells that wait are left out: neither their settings nor their ids are those under which they will be measured.
    Where the page has no room for details, no conditions are given.
    """
    found = []
    for measure, rows in table[table["status"] != "waiting"].groupby("measure", sort=False):
        settings = [key for key in settings_of(rows) if key != replicates(rows)]
        differ = ["normalizer", *telling_apart(rows, run)]
        own = [key for key in settings if key in tuned(run)]
        names, held = conditions(rows, differ), Conditions(run, str(measure))
        made = []
        for name, group in rows.groupby(names, sort=False) if detailed(run) else ():
            cells = tuple(_cell(row, run) | {"held": held.own(str(row["id"]))} for row in records(group))
            normalizer = str(group["normalizer"].iloc[0])
            made.append(Condition(str(name), normalizer, _told(group, [*differ, *own]), cells))
        shared = _told(rows, [key for key in settings if key not in (*differ, *own)])
        found.append(Again(str(measure), _note(rows), shared, tuple(made)))
    return found


def _note(rows: pd.DataFrame) -> str:
    running = "train_accuracy" in rows and rows["train_accuracy"].notna().any()
    return _TRAIN_ACCURACY if running else unsynchronized(rows)


def _told(rows: pd.DataFrame, keys: list[str]) -> tuple[tuple[str, str], ...]:
    return tuple((key, words.show_value(rows[key].iloc[0])) for key in keys)


def _cell(row: dict[str, Any], run: Run) -> dict[str, Any]:
    cell_id = str(row["id"])
    record = run.records.get(cell_id)
    numbers = record.metrics if record else {}
    return {
        "id": cell_id,
        "name": named_replicate(row),
        "status": str(row["status"]),
        "same_as": str(row["same_as"]),
        "seconds": f"{row['seconds']:.2f} s" if record else "",
        # local_batch stands among the settings' words already, and a shared record holds another cell's
        "metrics": ", ".join(f"{key} {value:.5g}" for key, value in numbers.items() if key != "local_batch"),
        "command": str(row["command"]),
    }


def _flat(options: Any) -> str:
    if not isinstance(options, dict):
        return str(options)
    return ", ".join(f"{key}={_text(value)}" for key, value in options.items())


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
