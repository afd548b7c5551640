"""Tuning before measuring: the trials that choose each condition's learning rate, or whatever `[select]` names.

Every condition (a cell without its seed, and without what only reads the trained net) gets the same grid and the same
budget. Trials train on a part of the training part and are scored on the rest of it, with seeds that no result uses.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from normzoo_suites.calls import parse_call
from normzoo_suites.cell import Cell
from normzoo_suites.errors import SuiteError, explain, show
from normzoo_suites.record import Record
from normzoo_suites.schema import MAX_CELLS, Suite
from normzoo_suites.select import FIRST_TRIAL_SEED, Select
from normzoo_suites.settings import AccuracySettings, Settings
from normzoo_suites.values import Value

_OF_THE_READER = ("seed", "evaluate_on", "readings", "frozen_from", "ema", *sorted(AccuracySettings.READ_AFTERWARDS))
"""Settings that tell no condition apart: nothing that training does before its last step depends on them."""

COUNTED = ("ok", "diverged")
"""Trials with these statuses have a score; a diverged one has chance accuracy."""


@dataclass(frozen=True)
class Choice:
    """What a condition's trials have chosen.

    Attributes:
        condition: the condition, as ``condition`` spells it.
        cell: one result cell of the condition, for its settings.
        chosen: the best values by setting; None when not one trial ended with a score.
        scores: by each combination of the grid, in order, the mean over seeds, or None where a trial has none.
        edges: the settings whose best value is the smallest or largest that was tried, and no inner one is as good.
        lost: the combinations that no trial speaks for: they have no score, or all their trials diverged.

    """

    condition: str
    cell: Cell
    chosen: dict[str, Value] | None
    scores: tuple[tuple[dict[str, Value], float | None], ...]
    edges: tuple[str, ...] = ()
    lost: tuple[dict[str, Value], ...] = ()


def check_select(suite: Suite) -> None:
    """Hold a suite's ``[select]`` to its grids.

    Raises:
        SuiteError: when nothing of the suite can be tuned, a grid or a claim sets what is to be tuned, a result's seed
            is one of the trials', there are more than ``MAX_CELLS`` trials, or the settings of a trial or of a tuned
            cell do not go together.

    """
    select = suite.select
    if select is None:
        return
    _check_grids(suite, select)
    _check_claims(suite, select)
    _check_combinations(suite, select)


def _check_grids(suite: Suite, select: Select) -> None:
    tuned = [(number, grid) for number, grid in enumerate(suite.grids) if grid.measure == "accuracy"]
    if not tuned:
        raise SuiteError("[select] tunes trainings, and no grid of this suite measures accuracy", ("select",))
    for number, grid in tuned:
        for table in ("fixed", "axes"):
            for key in select.grid.keys() & getattr(grid, table).keys():
                raise SuiteError(f"{key} is tuned by [select] and set here; keep one", ("grids", number, table, key))
        high = next((seed for seed in grid.values().get("seed", []) if int(seed) >= FIRST_TRIAL_SEED), None)
        if high is not None:
            raise SuiteError(
                f"seed {high} is kept for the trials of [select], which begin at {FIRST_TRIAL_SEED}; use smaller ones",
                ("grids", number),
            )


def _check_claims(suite: Suite, select: Select) -> None:
    for number, claim in enumerate(suite.claims):
        for term in claim.terms:
            for key in select.grid.keys() & term.settings.keys():
                raise SuiteError(
                    f"the claim {show(claim.id)} names {key}, which [select] chooses; leave it out", ("claims", number)
                )


def _check_combinations(suite: Suite, select: Select) -> None:
    """Build every trial, and every cell with every value that may be chosen for it, under one seed each."""
    cells = [cell for grid in suite.grids for cell in grid.once().cells(suite.protocol) if is_tuned(select, cell)]
    conditions = len(set(map(_conditions(select), cells)))
    if (count := conditions * select.seeds * math.prod(map(len, select.grid.values()))) > MAX_CELLS:
        raise SuiteError(f"[select] asks for {count} trials, the most is {MAX_CELLS}; try fewer values", ("select",))
    try:
        trials(select, cells)
        for cell, point in itertools.product(cells, combinations(select)):
            _changed(cell, point)
    except ValidationError as error:
        fault = explain(error, lambda _: AccuracySettings.model_fields)
        raise SuiteError(f"a cell that [select] tunes, or its trial, cannot be: {fault}", ("select",)) from None


def is_tuned(select: Select | None, cell: Cell) -> bool:
    """Tell whether a cell waits for a choice."""
    return select is not None and isinstance(cell.settings, AccuracySettings)


def condition(select: Select, cell: Cell) -> str:
    """Name the condition of a cell: all its settings but the tuned ones, the seed, and how the net is read."""
    left = cell.settings.model_dump(exclude={*_OF_THE_READER, *select.grid}, exclude_defaults=True)
    return json.dumps(left, sort_keys=True)


def _conditions(select: Select) -> Callable[[Cell], str]:
    """Give ``condition`` for many cells: each condition is spelt once."""
    told = AccuracySettings.all_but(*_OF_THE_READER, *select.grid)
    spelt: dict[object, str] = {}

    def name(cell: Cell) -> str:
        values = told(cell.settings)
        if values not in spelt:
            spelt[values] = condition(select, cell)
        return spelt[values]

    return name


def family(select: Select, cell: Cell) -> str:
    """Name the conditions whose trials may be one computation; of a cell, or of a trial.

    They differ in ``ranks`` at most, and in what the trials have of ``[select]``.
    """
    left = cell.settings.model_dump(exclude={*_OF_THE_READER, *select.grid, *select.fixed, "ranks", "epochs"})
    return json.dumps(left, sort_keys=True)


def combinations(select: Select) -> list[dict[str, Value]]:
    """Give the grid's points, in order."""
    return [dict(zip(select.grid, values, strict=True)) for values in itertools.product(*select.grid.values())]


def trials(select: Select, cells: Iterable[Cell]) -> list[Cell]:
    """Give the trials of these cells' conditions, seed by seed."""
    name = _conditions(select)
    firsts = {name(cell): cell for cell in reversed(list(cells)) if is_tuned(select, cell)}
    made = [
        _trial(select, cell, point, FIRST_TRIAL_SEED + number)
        for number in range(select.seeds)
        for cell in reversed(list(firsts.values()))
        for point in combinations(select)
    ]
    return list({trial.id: trial for trial in made}.values())


def _trial(select: Select, cell: Cell, point: Mapping[str, Value], seed: int) -> Cell:
    defaults = {key: AccuracySettings.model_fields[key].default for key in _OF_THE_READER}
    changed = {**select.fixed, **point, "seed": seed, "evaluate_on": "validation"}
    if "epochs" in changed:  # a trial that trains longer than what it tunes would tune something else
        changed["epochs"] = min(int(changed["epochs"]), cell.settings.model_dump()["epochs"])
    return _changed(cell, defaults | changed)


def _changed(cell: Cell, changes: Mapping[str, Any]) -> Cell:
    settings = type(cell.settings).model_validate(cell.settings.model_dump() | dict(changes))
    return replace(cell, settings=settings, twin_of=None, same_as=None)  # of which others it is a twin is told anew


def choose(select: Select, cells: Sequence[Cell], records: Mapping[str, Record]) -> dict[str, Choice]:
    """Give the choice of every condition whose trials all have a record; ``records`` is by id."""
    firsts: dict[str, Cell] = {}
    name = _conditions(select)
    for cell in cells if records else ():  # without any record nothing is chosen yet
        if is_tuned(select, cell):
            firsts.setdefault(name(cell), cell)
    found = {one: _choice(select, one, cell, records) for one, cell in firsts.items()}
    return {one: choice for one, choice in found.items() if choice is not None}


def _choice(select: Select, name: str, cell: Cell, records: Mapping[str, Record]) -> Choice | None:
    scores: list[tuple[dict[str, Value], float | None]] = []
    ranked: list[tuple[float, float, int]] = []
    lost: list[dict[str, Value]] = []
    for number, point in enumerate(combinations(select)):
        ids = [_trial(select, cell, point, FIRST_TRIAL_SEED + seed).id for seed in range(select.seeds)]
        if any(one not in records for one in ids):
            return None
        score = _mean([_score(select, records[one]) for one in ids])
        scores.append((point, score))
        if score is None or all(records[one].status == "diverged" for one in ids):
            lost.append(point)
        if score is not None:
            loss = _mean([records[one].metrics.get("validation_loss") for one in ids])
            ranked.append((score, -math.inf if loss is None else -loss, -number))
    if not ranked:
        return Choice(name, cell, None, tuple(scores), lost=tuple(lost))
    best = scores[-max(ranked)[2]][0]  # of equals the one with the lower loss, then the first
    equals = [point for point, score in scores if score == max(ranked)[0]]
    edges = tuple(
        key
        for key in select.grid
        if all(_on_edge(point[key], [one[key] for one, score in scores if score is not None]) for point in equals)
    )
    return Choice(name, cell, best, tuple(scores), edges, tuple(lost))


def _score(select: Select, record: Record) -> float | None:
    """Give a trial's score, the higher the better."""
    if record.status == "diverged":
        return record.metrics.get("chance_accuracy") if select.metric == "validation_accuracy" else None
    score = record.metrics.get(select.metric) if record.status in COUNTED else None
    return -score if score is not None and select.metric == "validation_loss" else score


def _mean(scores: Sequence[float | None]) -> float | None:
    present = [score for score in scores if score is not None]
    return sum(present) / len(present) if present and len(present) == len(scores) else None


def _on_edge(chosen: Value, values: Sequence[Value]) -> bool:
    """Tell whether a value is the smallest or largest of a grid; what has no order has no edge."""
    sizes = {value: _size(value) for value in values}
    known = [size for size in sizes.values() if size is not None]
    if len(known) < len(sizes) or len(known) < 2 or chosen == 0:  # below 0 there is nothing
        return False
    return sizes[chosen] in (min(known), max(known))


def _size(value: Value) -> float | None:
    if not isinstance(value, str):
        return float(value)
    rate = parse_call(value).options.get("rate")
    if not isinstance(rate, int | float):
        return None
    per = parse_call(value).options.get("per")
    return float(rate) / (float(per) if isinstance(per, int | float) else 1.0)


def resolve(select: Select, cells: Iterable[Cell], choices: Mapping[str, Choice]) -> list[Cell]:
    """Give the cells with what was chosen for them; those of conditions without a choice yet are left out.

    Where not one trial ended with a score, the cell cannot run, and says so.
    """
    resolved = []
    name = _conditions(select)
    experiment = AccuracySettings.all_but("seed")
    tuned: dict[object, Settings] = {}
    for cell in cells:
        if not is_tuned(select, cell) or cell.skip is not None:
            resolved.append(cell)
            continue
        choice = choices.get(name(cell)) if choices else None
        if choice is None:
            continue
        if choice.chosen is None:
            lost = "not one trial that should tune it ended with a score"
            resolved.append(replace(cell, skip=lost, twin_of=None, same_as=None))
        else:
            own = experiment(cell.settings)
            if own not in tuned:
                tuned[own] = _changed(cell, choice.chosen).settings
            settings = tuned[own].repeated(cell.settings.replicate)
            resolved.append(replace(cell, settings=settings, twin_of=None, same_as=None))
    return resolved


def edge_warnings(choices: Iterable[Choice]) -> list[str]:
    """Say for whom the best value lies on the edge of what was tried: the optimum may lie beyond."""
    found: dict[str, list[str]] = {}
    for choice in choices:
        for key in choice.edges:
            found.setdefault(f"{key} = {(choice.chosen or {})[key]}", []).append(choice.cell.settings.normalizer)
    return [
        f"{best} is the best and lies on the edge of what was tried, for {', '.join(dict.fromkeys(names))}: the "
        "optimum may lie beyond; widen the grid of [select]"
        for best, names in found.items()
    ]


def lost_warnings(choices: Iterable[Choice]) -> list[str]:
    """Say for whom a value that was to be tried says nothing: its trials diverged, or one has no score."""
    found: dict[str, list[str]] = {}
    for choice in choices:
        for point in choice.lost:
            tried = ", ".join(f"{key} = {value}" for key, value in point.items())
            found.setdefault(tried, []).append(choice.cell.settings.normalizer)
    return [
        f"{tried} has no score (its trials failed, or all diverged), for {', '.join(dict.fromkeys(names))}: nothing is "
        "known of it"
        for tried, names in found.items()
    ]
