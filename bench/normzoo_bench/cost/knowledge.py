"""What is known of how long things take here: by earlier records, and by a probe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normzoo_bench.cost.past import MOST, Past, beside, read_past
from normzoo_bench.cost.probe import Probed
from normzoo_bench.cost.rule import Rule
from normzoo_bench.cost.tasks import FAMILIAR, Task, Tasks
from normzoo_bench.environment import environment
from normzoo_bench.files import real
from normzoo_bench.planner import Plan
from normzoo_suites import Record


@dataclass(frozen=True)
class Basis:
    """What some cells are estimated by, and how sure that is.

    Attributes:
        words: the likeness of the records, or the probe.
        cells: how many cells are estimated so.
        low, high: between these were 8 of 10 relative errors (predicted / taken − 1) where records that were there
            could be predicted by others in the same way; None where none could.
        checked: how many records could.

    """

    words: str
    cells: int = 0
    low: float | None = None
    high: float | None = None
    checked: int = 0


class Known:
    """Predicts by records of this chip where they are familiar, else by a probe, else by what else there is.

    Records of other chips count only where there are none of this one.
    """

    def __init__(self, past: Iterable[Past]) -> None:
        own = environment()
        here: list[Past] = []
        elsewhere: list[Past] = []
        self._chips: dict[str, set[str]] = defaultdict(set)
        for one in past:
            device = one.task.settings.device
            if one.chip == own["gpu" if device == "cuda" else "cpu"]:
                here.append(one)
            else:
                elsewhere.append(one)
                self._chips[device].add(one.chip or "unknown")
        self._here, self._elsewhere, self._probed = Rule(here), Rule(elsewhere), Probed()
        self._bases: dict[tuple[bool, str, str, int], Basis] = {}

    def add(self, probed: Probed) -> None:
        """Add what a probe has found."""
        self._probed = probed

    def familiar(self, task: Task) -> bool:
        """Tell whether records of this chip are so much like a task that a probe of it would tell no more."""
        found = self._here.predict(task)
        return found is not None and found[1] < FAMILIAR[task.words]

    def predict(self, task: Task) -> tuple[float, Basis] | None:
        """Give the seconds that a task takes one worker, and by what; None where nothing is known."""
        if not self.familiar(task) and (seconds := self._probed.predict(task)) is not None:
            return seconds, Basis("a probe")
        found = self._here.predict(task)
        if found is not None:
            return found[0], self._basis(task, found[1], here=True)
        found = self._elsewhere.predict(task)
        return None if found is None else (found[0], self._basis(task, found[1], here=False))

    def _basis(self, task: Task, level: int, here: bool) -> Basis:
        device = task.settings.device
        key = (here, task.measure, device, level)
        if key not in self._bases:
            errors = (self._here if here else self._elsewhere).errors(task.measure, device, level)
            low, high = np.quantile(errors, (0.1, 0.9)).tolist() if errors else (None, None)
            words = task.words[level]
            if not here:
                words += f", on other hardware: {', '.join(sorted(self._chips[device]))}"
            self._bases[key] = Basis(words, 0, low, high, len(errors))
        return self._bases[key]


def known_of(plan: Plan, folder: Path, finished: Iterable[Record], also: Iterable[Path] = ()) -> Known:
    """Read what this run folder, whose ``finished`` records have been read, those beside it and others tell."""
    tasks = Tasks(plan.sources)
    past = read_past(folder, tasks, finished)
    others = {real(one) for one in (*beside(folder), *also)} - {real(folder)}
    for other in sorted(others):
        past += read_past(other, tasks, most=max(1, MOST // len(others)))
    return Known(past)
