"""Parts of a plan, for several machines: every machine cuts the same plan into the same parts, without asking another.

What must stay together does: seeds of a training need not, but trials and what they tune, cells of one timed process,
and normalizers that are timed against each other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from normzoo_bench.errors import UsageError
from normzoo_suites import Cell, Suite
from normzoo_suites.errors import show
from normzoo_suites.selection import family, is_tuned
from normzoo_suites.settings import TrainingSettings

Shard = tuple[int, int]


def parse(text: str | Shard | None) -> Shard | None:
    """Read ``2/16``.

    Raises:
        UsageError: when it is no number from 1 to the number of shards.

    """
    if text is None:
        return None
    spelt = "/".join(map(str, text)) if isinstance(text, tuple) else text
    match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", spelt)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard takes a part and the number of parts, such as 1/3, 2/3 or 3/3; got {show(spelt)}")
    return int(match[1]), int(match[2])


def part(suite: Suite, cells: Sequence[Cell], shard: Shard | None) -> list[Cell]:
    """Give those of these cells, or trials, that a shard measures; all where there is none."""
    if shard is None:
        return list(cells)
    number, count = shard
    whole = suite.cells()
    repeated = Counter(_experiment(cell) for cell in whole)
    units = list(dict.fromkeys(_unit(suite, cell, repeated) for cell in whole))
    own = set(units[number - 1 :: count])
    return [cell for cell in cells if _unit(suite, cell, repeated) in own]


def _unit(suite: Suite, cell: Cell, repeated: Counter[str]) -> str:
    """Name what a cell must be measured together with."""
    if suite.select is not None and is_tuned(suite.select, cell):
        return family(suite.select, cell)
    if isinstance(cell.settings, TrainingSettings):
        return f"{cell.measure} {cell.settings.model_dump_json(exclude=set(cell.settings.READ_AFTERWARDS))}"
    if repeated[_experiment(cell)] > 1:
        return f"{cell.measure} {cell.settings.replicate}"
    return f"{cell.measure} {cell.settings.model_dump_json(exclude={'normalizer', str(cell.settings.REPLICATES)})}"


def _experiment(cell: Cell) -> str:
    return f"{cell.measure} {cell.settings.model_dump_json(exclude={str(cell.settings.REPLICATES)})}"
