"""A short probe on this machine, for what no record tells: a little of every kind of task, within a bounded time.

A training is cut down to a few samples and measured over two numbers of epochs. The difference is the time per sample;
what is left is what every training costs once: data, model, recording a graph, reading the test part. What is timed has
no shorter form, so that one cell of each kind is measured as it is. Nothing of it is kept as a record.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import normzoo
from normzoo_bench.cost.rule import between
from normzoo_bench.cost.tasks import Key, Task, Tasks
from normzoo_bench.cost.work import Work
from normzoo_bench.planner import Plan
from normzoo_bench.running.pool import outcomes
from normzoo_bench.running.rounds import Options
from normzoo_bench.running.worker import Outcome
from normzoo_suites import Cell, parse_call
from normzoo_suites.settings import AccuracySettings, TrainingSettings

SMALL = 2048
"""Up to so many samples a probe trains on all of them."""

SAMPLES = 512
"""Else it trains on so many, in whole batches."""

ROUNDS = (1, 3)
"""Epochs of the two trainings, in whole rounds where ranks train by themselves."""

BEGIN = 0.75
"""The share of the time in which something is begun; the rest is for what was begun last."""


@dataclass
class Probed:
    """What a probe has found.

    Attributes:
        costs: by kind and batch size, the seconds that a task costs at once, and for each sample.
        faults: of what was probed and failed, why.
        left: how many kinds the time did not suffice for.

    """

    costs: dict[Key, dict[int, tuple[float, float]]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    left: int = 0

    def predict(self, task: Task) -> float | None:
        """Give a task's seconds; None where nothing of its kind was probed."""
        known = self.costs.get(kind(task))
        if known is None:
            return None
        once, each = (between({size: cost[part] for size, cost in known.items()}, task.batch_size) for part in (0, 1))
        return once + each * task.samples


def kind(task: Task) -> Key:
    """Name what is probed together: trainings of one normalizer and model on one data set, steps of one kind."""
    return (task.measure, *task.keys[1 if isinstance(task.settings, TrainingSettings) else 2])


@dataclass(frozen=True)
class _Trial:
    """What is measured for one kind and batch size: cells, and the samples that each of them sees."""

    task: Task
    cells: tuple[Cell, ...]
    samples: tuple[float, ...]

    @property
    def words(self) -> str:
        """Name it for an error."""
        settings = self.task.settings
        return (
            f"{settings.normalizer} ({self.task.measure}, {getattr(settings, 'model', getattr(settings, 'shape', ''))})"
        )


def probe(
    plan: Plan, work: Sequence[Work], seconds: float, announce: Callable[[int], None] = lambda kinds: None
) -> Probed:
    """Measure a little of every kind of these tasks, for about so many seconds at most.

    When ``BEGIN`` of the time is over nothing more is begun, and what takes longer than the rest of it is killed.
    ``announce`` is told how many kinds there are. One worker measures them, so that nothing is in their way.
    """
    trials, began = _trials(plan, work), time.monotonic()
    if not trials:
        return Probed()
    announce(len(trials))
    wanted = [cell for trial in trials for cell in trial.cells]
    ended: dict[str, Outcome] = {}
    options = Options(jobs=1, timeout=seconds * (1 - BEGIN), tries=1)
    with contextlib.closing(outcomes(plan, [*_warm_up(trials), *wanted], options)) as measured:  # ends the workers
        for cell, outcome in measured:
            ended[cell.id] = outcome
            if time.monotonic() - began > seconds * BEGIN:
                break
    return _found(trials, ended)


def _found(trials: Sequence[_Trial], ended: Mapping[str, Outcome]) -> Probed:
    found = Probed()
    for trial in trials:
        own = [ended[cell.id] for cell in trial.cells if cell.id in ended]
        fault = next((one for one in own if one.status != "ok"), None)
        if fault is not None:
            found.faults.append(f"{trial.words}: {fault.status}: {fault.reason}")
        elif len(own) < len(trial.cells):
            found.left += 1
        else:
            cost = _cost([one.seconds for one in own], trial.samples)
            found.costs.setdefault(kind(trial.task), {})[trial.task.batch_size] = cost
    return found


def _cost(seconds: Sequence[float], samples: Sequence[float]) -> tuple[float, float]:
    """Tell what is paid once from what is paid for each sample, by a short and a long training."""
    each = (seconds[-1] - seconds[0]) / (samples[-1] - samples[0]) if len(seconds) > 1 else 0.0
    if each <= 0 and len(seconds) > 1:  # too short for the clock: then all of it is taken to be for samples
        return 0.0, seconds[-1] / samples[-1]
    return max(0.0, seconds[0] - each * samples[0]), each


def _trials(plan: Plan, work: Sequence[Work]) -> list[_Trial]:
    """Choose what is measured: of every kind the smallest and the largest batch."""
    kinds: dict[Key, dict[int, Work]] = {}
    for one in work:
        kinds.setdefault(kind(one.task), {}).setdefault(one.task.batch_size, one)
    ends = (own[size] for own in kinds.values() for size in sorted({min(own), max(own)}))
    return [_trial(plan, one) for one in ends]


def _trial(plan: Plan, work: Work) -> _Trial:
    cell = work.cells[0]
    if not isinstance(cell.settings, TrainingSettings):
        return _Trial(work.task, (cell,), (1.0,))
    tasks = Tasks(plan.sources)
    cells = tuple(_shortened(plan, cell, cell.settings, rounds) for rounds in ROUNDS)
    made = [tasks.task(one.measure, one.settings, frozenset()) for one in cells]
    return _Trial(work.task, cells, tuple(one.samples for one in made if one is not None))


def _shortened(plan: Plan, cell: Cell, settings: TrainingSettings, rounds: int) -> Cell:
    dataset = plan.dataset(cell)
    assert dataset is not None  # a training has data
    changes: dict[str, Any] = {"warmup_epochs": 0, "epochs": rounds}
    evaluate_on = "test"
    if isinstance(settings, AccuracySettings):
        evaluate_on = settings.evaluate_on
        changes |= {"frozen_from": 1.0, "epochs": rounds * max(1, settings.local_epochs)}
    if dataset.kept(settings.train_samples, evaluate_on) > SMALL:
        changes["train_samples"] = -(-SAMPLES // settings.batch_size) * settings.batch_size
    changed = type(settings).model_validate(settings.model_dump() | changes)
    return dataclasses.replace(cell, settings=changed, twin_of=None, same_as=None)


def _warm_up(trials: Sequence[_Trial]) -> Iterator[Cell]:
    """Give a training before all others to every worker, for it has to import what trainings need."""
    owners = set()
    for trial in trials:
        (first, *_), settings = trial.cells, trial.cells[0].settings
        card = normzoo.card(parse_call(settings.normalizer).name)
        owner = "" if card.built_in else card.name  # whose workers are its own
        if isinstance(settings, TrainingSettings) and owner not in owners:
            owners.add(owner)
            yield dataclasses.replace(first, settings=settings.model_copy(update={"seed": settings.seed ^ 1}))
