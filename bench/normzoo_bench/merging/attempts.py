"""Which record of a cell stands where several folders have one, and what they must agree on."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from normzoo_bench.merging.refusals import contradiction, mixed
from normzoo_bench.merging.source import Source, digest
from normzoo_suites import FINAL, Record, parse_call

_RESULT, _FAULT, _NOTHING = 2, 1, 0


@dataclass(frozen=True, eq=False)
class Attempt:
    """A cell's record in one folder."""

    source: Source
    record: Record

    @property
    def content(self) -> bytes:
        """Its file as it is."""
        return self.source.content(self.record.id)

    @functools.cached_property
    def digest(self) -> str:
        """What tells its file from others."""
        return digest(self.content)

    @property
    def tried(self) -> bool:
        """Whether anything was tried: a cell that a plan skips takes no time."""
        return not (self.record.status == "skipped" and self.record.seconds == 0)

    @property
    def standing(self) -> int:
        """A result stands before a fault, and a fault before what was not tried, or tunes nothing any more."""
        if not self.tried or self.record.id in self.source.outdated:
            return _NOTHING
        return _RESULT if self.record.status in FINAL else _FAULT


@dataclass(frozen=True)
class Decided:
    """What is taken: by cell the record that stands, and the attempts that are kept beside it."""

    standing: dict[str, Attempt]
    beside: dict[str, list[Attempt]]


def decide(sources: Sequence[Source], prefer: Source | None) -> Decided:
    """Choose among the folders' records of every cell.

    Raises:
        UsageError: where results contradict each other and no folder is preferred.

    """
    found: dict[str, list[Attempt]] = defaultdict(list)
    for source in sorted(sources, key=lambda one: one is not prefer):  # the others stay in order
        for cell_id, record in source.records.items():
            found[cell_id].append(Attempt(source, record))
    aside = {one for attempts in found.values() for one in _replaced(attempts, prefer)}
    aside |= _foreign(found, aside, prefer)
    decided = Decided({}, {})
    contradictions: list[tuple[Attempt, Attempt]] = []
    for cell_id, attempts in found.items():
        left = _distinct([one for one in attempts if one not in aside])
        best = [one for one in left if one.standing == max(other.standing for other in left)]
        if best:
            decided.standing[cell_id] = best[0]
            if best[0].source is not prefer and best[0].standing == _RESULT:
                contradictions += [(best[0], other) for other in best[1:] if _result(other) != _result(best[0])]
        others = _distinct([*best[:1], *attempts])[len(best[:1]) :]
        decided.beside[cell_id] = [one for one in others if one.tried]
    if contradictions:
        raise contradiction(contradictions, sources)
    return decided


def _distinct(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Take copies of one file for one, the first."""
    if len(attempts) < 2:
        return list(attempts)  # which need not be read for that
    first: dict[str, Attempt] = {}
    for one in attempts:
        first.setdefault(one.digest, one)
    return list(first.values())


def _replaced(attempts: Sequence[Attempt], prefer: Source | None) -> list[Attempt]:
    """Give the attempts that another folder had too, and has replaced: that folder knew more."""
    found = [
        one
        for one in attempts
        if one.source is not prefer
        and any(one.digest in other.source.older_digests(one.record.id) for other in attempts if other is not one)
    ]
    return found if len(found) < len(attempts) else []  # two that have replaced each other's


def _result(attempt: Attempt) -> list[Any]:
    """Give what must be equal for two results of one cell to be the same; times and machines are not among it."""
    record = attempt.record
    return [record.source_hash, record.data_fingerprint, record.status, record.metrics, record.series]


def _foreign(found: dict[str, list[Attempt]], aside: Iterable[Attempt], prefer: Source | None) -> set[Attempt]:
    """Give what was measured with another source, or on other data, than the preferred folder has.

    Numbers of two sources of one normalizer are not numbers of one normalizer, also where they are of other cells.

    Raises:
        UsageError: where no preferred folder says which it is.

    """
    out = set(aside)
    counted = [
        one
        for attempts in found.values()
        for one in attempts
        if one not in out and one.tried and one.source.run.records.get(one.record.id) is one.record
    ]
    foreign: set[Attempt] = set()
    for what, part, name_of in _ONE_OF_EACH:
        told: dict[str, dict[Source, set[str]]] = defaultdict(lambda: defaultdict(set))
        for one in counted:
            if value := getattr(one.record, part):
                told[name_of(one.record)][one.source].add(value)
        for name, by_source in told.items():
            if all(values == next(iter(by_source.values())) for values in by_source.values()):
                continue
            if prefer is None or prefer not in by_source:
                raise mixed(what, name, by_source)
            foreign |= {
                one
                for one in counted
                if name_of(one.record) == name and getattr(one.record, part) not in by_source[prefer]
            }
    return foreign


def _normalizer(record: Record) -> str:
    return parse_call(record.settings["normalizer"]).name


def _data(record: Record) -> str:
    return f"{record.settings.get('dataset')}{', streamed' * (record.settings.get('data') == 'stream')}"


_ONE_OF_EACH: tuple[tuple[str, str, Callable[[Record], str]], ...] = (
    ("{} with different sources of it", "source_hash", _normalizer),
    ("on different data under the name {}", "data_fingerprint", _data),
)
