"""What earlier cells took, as their records say it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from normzoo_bench.cost.tasks import Key, Task, Tasks, reading, without
from normzoo_bench.errors import UsageError
from normzoo_bench.files import real
from normzoo_suites import Record, SuiteError, read_record
from normzoo_suites.settings import MEASURES, Settings

MOST = 2000
"""Records of a folder that count, and of all folders beside it together.

Ids are hashes, so that the first ones are as good as drawn by chance.
"""


@dataclass(frozen=True)
class Past:
    """A task of an earlier run: the seconds that it took of one worker, and the name of the chip that it ran on."""

    task: Task
    seconds: float
    chip: str


def past_of(records: Iterable[Record], tasks: Tasks) -> list[Past]:
    """Give the tasks that these records of one folder were measured in.

    Records of one training that were measured together have the same seconds, their share of its time. Only what went
    well counts, since a failed cell says little of how long it would have taken.
    """
    shares: dict[Key, set[Key]] = {}
    counts: Counter[Key] = Counter()
    firsts: dict[Key, Settings] = {}
    for record in records:
        if record.status != "ok" or not record.seconds or (settings := _settings(record)) is None:
            continue
        key = (
            record.measure,
            without(settings, settings.READ_AFTERWARDS),
            record.seconds,
            str(record.environment.get("gpu" if settings.device == "cuda" else "cpu", "")),
        )
        counts[key] += 1
        shares.setdefault(key, set()).add(reading(settings))
        firsts.setdefault(key, settings)
    made = ((tasks.task(key[0], firsts[key], frozenset(shares[key])), key) for key in counts)
    return [Past(task, key[2] * counts[key], key[3]) for task, key in made if task is not None]


def _settings(record: Record) -> Settings | None:
    try:
        return MEASURES[record.measure].model_validate(record.settings)
    except (KeyError, ValidationError):
        return None  # of a measure or a setting that is no more


def read_past(folder: Path, tasks: Tasks, known: Iterable[Record] = (), most: int = MOST) -> list[Past]:
    """Read what the cells of a run folder took; ``known`` are records of it that have been read already."""
    read = {record.id: record for record in known}
    return past_of([*islice(read.values(), most), *islice(_records(folder, read), most)], tasks)


def _records(folder: Path, but: Collection[str]) -> Iterator[Record]:
    for file in sorted((folder / "cells").glob("*.json")):
        if file.stem not in but:
            # a damaged record is told by whoever needs it; here it is one example less
            with contextlib.suppress(OSError, SuiteError):
                yield read_record(file.read_bytes(), file.name)


def beside(folder: Path) -> list[Path]:
    """Give the other run folders that lie where this one does."""
    own = real(folder)
    with contextlib.suppress(OSError):
        return sorted(file.parent for file in own.parent.glob("*/run.json") if file.parent != own)
    return []


def named(folders: Iterable[str | Path]) -> list[Path]:
    """Require that these are run folders; raises UsageError."""
    found = [Path(folder) for folder in folders]
    for folder in found:
        if not (folder / "run.json").is_file():
            raise UsageError(f"--from {folder}: it is no run folder, it has no run.json; name folders of earlier runs")
    return found
