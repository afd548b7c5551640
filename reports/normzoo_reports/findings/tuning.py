"""What was tuned, how, and what came of it: every value that was tried, for every condition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from normzoo_reports import words
from normzoo_reports.load import MEASURED, varying
from normzoo_reports.plain import isolated
from normzoo_reports.tables import conditions
from normzoo_suites import Cell, Record, Run, parse_call
from normzoo_suites.select import FIRST_TRIAL_SEED, Select
from normzoo_suites.selection import Choice, combinations, condition, is_tuned, trials
from normzoo_suites.settings import AccuracySettings
from normzoo_suites.values import Value


@dataclass(frozen=True)
class Score:
    """What one combination scored, or why it has no score, and its trials."""

    text: str
    chosen: bool
    notes: tuple[str, ...]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Tried:
    """One condition: a score per combination, or how far its trials are."""

    normalizer: str
    condition: str
    scores: tuple[Score, ...]
    state: str


@dataclass(frozen=True)
class Tuning:
    """The tuning of a run: how it was done, what was tried, and what a reader must be warned of."""

    how: str
    metric: str
    by: str
    points: tuple[str, ...]
    rows: tuple[Tried, ...]
    edges: tuple[str, ...]
    lost: tuple[str, ...]
    failed: tuple[str, ...]


_Names = dict[str, list[str]]  # the names of conditions by normalizer


@dataclass(frozen=True)
class _Condition:
    cell: Cell
    name: str
    choice: Choice | None
    trials: tuple[Cell, ...]


def tuning(run: Run) -> Tuning | None:
    """Tell of a run's tuning, or None where nothing was tuned."""
    select = run.suite.select
    if select is None:
        return None
    found = _conditions(run, select)
    points = combinations(select)
    return Tuning(
        how=_how(select),
        metric=select.metric,
        by=next(iter(select.grid)) if len(select.grid) == 1 else "",  # one key alone stands in the table's head
        points=tuple(_values(list(point.values())) if len(point) == 1 else _point(point) for point in points),
        rows=tuple(_tried(one, run, select, points) for one in found),
        edges=tuple(_edges(found, select)),
        lost=tuple(_lost(found)),
        failed=tuple(_failed(found, run, select)),
    )


def headlines(run: Run) -> tuple[str, ...]:
    """Say what a reader must know of the tuning before any number: edges, values without a score, cells that wait."""
    select = run.suite.select
    if select is None:
        return ()
    choices = run.choices().values()
    said = []
    for key in select.grid:
        on_edge = sum(key in choice.edges for choice in choices)
        if on_edge:
            said.append(
                f"In {on_edge} of {words.count(len(choices), 'tuned condition')} the best {key} is the smallest or the "
                "largest that was tried: the optimum may lie beyond."
            )
    lost = sum(bool(choice.lost) for choice in choices)
    if lost:
        said.append(
            f"In {lost} of {words.count(len(choices), 'tuned condition')} something was tried without a score: its "
            "trials failed, or all diverged."
        )
    if run.waiting:
        asked = [trial for trial in run.trials if trial.same_as is None]
        done = sum(trial.id in run.records for trial in asked)
        verb = "waits" if run.waiting == 1 else "wait"
        said.append(
            f"{words.count(run.waiting, 'cell')} {verb} for the choice of {', '.join(select.grid)}: "
            f"{done} of {words.count(len(asked), 'trial')} measured. Running the suite again goes on."
        )
    return tuple(said)


def _conditions(run: Run, select: Select) -> list[_Condition]:
    """Give the conditions of which the run has trials, in the suite's order."""
    firsts: dict[str, Cell] = {}
    for cell in run.suite.cells():
        if is_tuned(select, cell):
            firsts.setdefault(condition(select, cell), cell)
    asked = {trial.id for trial in run.trials}
    choices = run.choices()
    mine = {key: tuple(trials(select, [cell])) for key, cell in firsts.items()}
    kept = [key for key in firsts if key in choices or any(trial.id in asked for trial in mine[key])]
    names = _names([firsts[key] for key in kept], select)
    return [_Condition(firsts[key], name, choices.get(key), mine[key]) for key, name in zip(kept, names, strict=True)]


def _names(cells: list[Cell], select: Select) -> list[str]:
    if not cells:
        return []
    rows = pd.DataFrame([cell.settings.model_dump() for cell in cells])
    keys = [key for key in varying(rows, AccuracySettings.model_fields) if key not in select.grid]
    return [str(name) for name in conditions(rows, keys)]


def _how(select: Select) -> str:
    """Say what was tried, and under which budget."""
    grid = " and ".join(f"{key} = {_values(values)}" for key, values in select.grid.items())
    first, last = FIRST_TRIAL_SEED, FIRST_TRIAL_SEED + select.seeds - 1
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
    fixed = ", ".join(f"{key} = {words.show_value(value)}" for key, value in select.fixed.items())
    like = (
        f"trained like the cells that it tunes, but with {fixed}" if fixed else "trained like the cells that it tunes"
    )
    budget = len(combinations(select)) * select.seeds
    return (
        f"Tried: {grid}. Every condition of every normalizer has the same {words.count(budget, 'trial')}, "
        f"with {seeds}, which no result uses. "
        f"A trial is {like}, on a part of the training part, and scored by {words.label(select.metric)} on the rest of "
        "it; the test part has no say."
    )


def _values(values: list[Value]) -> str:
    return ", ".join(words.show_value(value) for value in values)


def _point(point: Mapping[str, Value]) -> str:
    return ", ".join(f"{key} {words.show_value(value)}" for key, value in point.items())


def _tried(one: _Condition, run: Run, select: Select, points: list[dict[str, Value]]) -> Tried:
    normalizer = one.cell.settings.normalizer
    if one.choice is None:
        done = sum(trial.id in run.records for trial in one.trials)
        state = f"not chosen yet: {done} of {words.count(len(one.trials), 'trial')} measured"
        return Tried(normalizer, one.name, (), state)
    scores = tuple(
        _score(one.choice, point, score, {trial.id: run.records[trial.id] for trial in _trials_of(one, point)}, select)
        for point, score in one.choice.scores
    )
    return Tried(normalizer, one.name, scores, "")


def _trials_of(one: _Condition, point: Mapping[str, Value]) -> list[Cell]:
    return [trial for trial in one.trials if all(getattr(trial.settings, key) == point[key] for key in point)]


def _score(
    choice: Choice, point: dict[str, Value], score: float | None, records: dict[str, Record], select: Select
) -> Score:
    statuses = Counter(str(record.status) for record in records.values())
    if score is None:
        lost = [f"{status} ({n})" if n > 1 else status for status, n in statuses.items() if status != "ok"]
        return Score(", ".join(lost) or "no value", chosen=False, notes=(), cells=tuple(records))
    chosen = point == choice.chosen
    notes = ["chosen"] if chosen else []
    alone = len(point) == 1
    edges = [(key, _end(select, key, point[key])) for key in choice.edges if chosen]
    notes += [f"the {end} tried" if alone else f"its {key} is the {end} tried" for key, end in edges]
    notes += [f"{statuses['diverged']} diverged, counted as chance"] if statuses["diverged"] else []
    # choices are by what is higher the better, and a loss counts with its sign turned
    value = -score if select.metric == "validation_loss" else score
    return Score(words.show(select.metric, value), chosen, tuple(notes), tuple(records))


def _edges(found: list[_Condition], select: Select) -> list[str]:
    """Warn of choices on the edge of what was tried, those of one value together."""
    whose: dict[tuple[str, Value], _Names] = {}
    for one in found:
        chosen = (one.choice and one.choice.chosen) or {}
        for key in one.choice.edges if one.choice else ():
            whose.setdefault((key, chosen[key]), {}).setdefault(one.cell.settings.normalizer, []).append(one.name)
    told = []
    for (key, value), names in whose.items():
        end = _end(select, key, value)
        best = f"The best {key} is the {end} tried, {words.show_value(value)}"
        told.append(f"{best}, for {_who(names)}: the optimum may lie beyond.")
    return told


def _lost(found: list[_Condition]) -> list[str]:
    """Warn of values that no trial speaks for, those of one value together."""
    whose: dict[str, _Names] = {}
    for one in found:
        for point in one.choice.lost if one.choice else ():
            whose.setdefault(_point(point), {}).setdefault(one.cell.settings.normalizer, []).append(one.name)
    return [
        f"{point} was tried without a score, for {_who(names)}: its trials failed, or all diverged."
        for point, names in whose.items()
    ]


def _who(names: _Names) -> str:
    every = {isolated(name): of for name, of in names.items()}
    return "; ".join(f"{name} at {', '.join(of)}" if any(of) else name for name, of in every.items())


def _end(select: Select, key: str, value: Value) -> str:
    return "largest" if _size(value) >= max(map(_size, select.grid[key])) else "smallest"


def _size(value: Value) -> float:
    return float(parse_call(value).options.get("rate") or 0) if isinstance(value, str) else float(value)


def _failed(found: list[_Condition], run: Run, select: Select) -> list[str]:
    """Name the trials that have no score, with reasons."""
    whose: dict[str, list[str]] = {}
    for one in found:
        for trial in one.trials:
            why = _why_failed(trial, run)
            point = _point({key: getattr(trial.settings, key) for key in select.grid})
            name = ", ".join(filter(None, (isolated(one.cell.settings.normalizer), one.name, point)))
            if why and name not in whose.setdefault(why, []):
                whose[why].append(name)
    return [f"{why}: {'; '.join(names)}" for why, names in whose.items()]


def _why_failed(trial: Cell, run: Run) -> str:
    record = run.records.get(trial.id)
    if record is None:
        return run.unreadable.get(f"{trial.id}.json", "")
    if record.status in MEASURED:
        return ""
    status = words.STATUS[record.status]
    return f"{status}: {isolated(record.reason)}" if record.reason else status
