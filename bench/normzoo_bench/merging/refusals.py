"""Contradictions between folders, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from normzoo_bench.errors import UsageError
from normzoo_bench.merging.source import Source, named
from normzoo_suites import Record

if TYPE_CHECKING:
    from normzoo_bench.merging.attempts import Attempt

_PREFER = "--prefer FOLDER takes that folder's records and keeps the others' in cells/older/"


def mixed(what: str, name: str, by_source: Mapping[Source, set[str]]) -> UsageError:
    """Say of which normalizer folders have measured different sources, or on what different data."""
    told = "; ".join(f"{one.folder}: {', '.join(sorted(values))}" for one, values in by_source.items())
    return UsageError(
        f"{named(list(by_source))} have measured {what.format(name)} ({told}), and one run has one of each; `normzoo "
        f"run` in the folder of the old one measures it again, or {_PREFER}, where they count as not measured"
    )


def contradiction(found: Sequence[tuple[Attempt, Attempt]], sources: Sequence[Source]) -> UsageError:
    """Say in which cell two folders' results contradict each other, in how many more, and how the first do."""
    one, other = (attempt.record for attempt in found[0])
    more = f", as they do in {len(found) - 1} more" * (len(found) > 1)
    return UsageError(
        f"{named([attempt.source for attempt in found[0]])} contradict each other in the cell {one.id} "
        f"({_words(one, sources)}){more}: {_difference(one, other)}"
        f"{_why(one, other)}; {_PREFER}"
    )


def _difference(one: Record, other: Record) -> str:
    """Say in what two results of one cell differ."""
    for part in ("source_hash", "data_fingerprint", "status"):
        if getattr(one, part) != getattr(other, part):
            return f"{part} is {getattr(one, part) or 'empty'} and {getattr(other, part) or 'empty'}"
    for table in ("metrics", "series"):
        first, second = getattr(one, table), getattr(other, table)
        for key in (*first, *second):
            if first.get(key) != second.get(key):
                values = (_shown(first.get(key)), _shown(second.get(key)))
                return f"{key} is {values[0]} and {values[1]}"
    raise AssertionError("two results that differ in nothing")


def _shown(value: float | list[float] | None) -> str:
    if value is None:
        return "missing"
    return f"a series that ends with {value[-1:]}" if isinstance(value, list) else repr(value)


def _why(one: Record, other: Record) -> str:
    """Say what may have made two results differ, where that is known."""
    if one.measure != "accuracy":
        return f" (no two measurements of {one.measure} are alike; whoever chooses one must not choose by its numbers)"
    homes = [hardware(record) for record in (one, other)]
    return f" (measured on {homes[0]} and on {homes[1]}, which may round differently)" if len(set(homes)) > 1 else ""


def hardware(record: Record) -> str:
    """Name the kind of device that a record was measured on."""
    part = "gpu" if record.settings.get("device") == "cuda" else "cpu"
    return str(record.environment.get(part) or "a device without a name")


def _words(record: Record, sources: Sequence[Source]) -> str:
    """Say which cell it is by its normalizer and the settings in which the runs' cells differ."""
    alike = [
        other.settings for source in sources for other in source.records.values() if other.measure == record.measure
    ]
    vary = [
        f"{key} = {value}"
        for key, value in record.settings.items()
        if key != "normalizer" and any(other.get(key) != value for other in alike)
    ]
    return ", ".join([record.measure, str(record.settings.get("normalizer")), *vary])
