"""The leaderboard: what runs measured under the same conditions, on the same data and hardware, side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from normzoo_reports import words
from normzoo_reports.comparing.outcomes import OUTCOMES
from normzoo_reports.publishing.entries import Board, Entry, Setting
from normzoo_reports.results import Estimate
from normzoo_suites.settings import MEASURES

_COLUMNS = 6
"""So many conditions stand side by side; of more, only the ends are shown."""


@dataclass(frozen=True)
class Line:
    """A normalizer of one report: its mean place over the conditions, its values, and where it comes from."""

    place: str
    normalizer: str
    folder: str
    values: tuple[Estimate | str, ...]


@dataclass(frozen=True)
class Table:
    """Runs that may meet.

    Attributes:
        title: what was measured, on what.
        metric: which number.
        better: which way is better, in words.
        shared: the settings that hold for all of it.
        columns: the conditions' names, or what is shown of many.
        conditions: how many there are.
        lines: best place first.
        folders: the reports that it is made of.
        warnings: what a reader must know before comparing its lines.
        notes: what a reader must know of some of its values.

    """

    title: str
    metric: str
    better: str
    shared: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    conditions: int
    lines: tuple[Line, ...]
    folders: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """The tables of one suite in one protocol, and how many are left out since they would hold one line alone."""

    suite: str
    protocol: int
    tables: tuple[Table, ...]
    alone: int


def leaderboard(entries: Mapping[str, Entry]) -> list[Section]:
    """Give the tables of all entries, by suite and protocol; different protocols never meet in one."""
    groups: dict[tuple[str, int], dict[str, list[tuple[str, Board]]]] = {}
    for folder, entry in sorted(entries.items()):
        tables = groups.setdefault((entry.suite, entry.protocol), {})
        for board in entry.boards:
            tables.setdefault(_meeting(board), []).append((folder, board))
    sections = []
    for (suite, protocol), tables in sorted(groups.items()):
        made = [_table(found) for found in tables.values()]
        shown = tuple(table for table in made if len(table.lines) > 1)
        sections.append(Section(suite, protocol, shown, len(made) - len(shown)))
    return [section for section in sections if section.tables]


def higher_is_better(metric: str) -> bool:
    """Whether more of it is better; if not, less is."""
    return OUTCOMES[metric].better == "higher"


def places(columns: Iterable[Sequence[Estimate | str]], metric: str) -> list[float]:
    """Give each line's mean place over the conditions: 1 and how many others are better there.

    Another is better where its interval lies beyond this one's; where one of the two has none, the values decide. What
    has no value is behind all that have one.

    Args:
        columns: by condition, each line's value.
        metric: what they are values of.

    """
    each = [[1 + sum(_better(other, mine, metric) for other in column) for mine in column] for column in columns]
    return [math.fsum(found) / len(found) for found in zip(*each, strict=True)]


def _better(one: Estimate | str, other: Estimate | str, metric: str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return not isinstance(one, str) and isinstance(other, str)
    if None in (one.low, one.high, other.low, other.high):
        return _goodness(one, metric) > _goodness(other, metric)
    (_, worst), (best, _) = _ends(one, metric), _ends(other, metric)
    return worst > best


def _bare(column: Iterable[Estimate | str]) -> list[Estimate | str]:
    return [value if isinstance(value, str) else replace(value, low=None, high=None) for value in column]


def _ends(value: Estimate, metric: str) -> tuple[float, float]:
    """Give the better and the worse end of an interval, as goodness."""
    ends = [end if higher_is_better(metric) else -end for end in (value.low, value.high) if end is not None]
    return max(ends), min(ends)


def _goodness(value: Estimate | str, metric: str) -> float:
    if isinstance(value, str):
        return -math.inf
    return value.value if higher_is_better(metric) else -value.value


def _meeting(board: Board) -> str:
    """Say what two boards must have in common for their lines to stand in one table."""
    conditions = sorted(json.dumps(one, sort_keys=True) for one in board.conditions)
    return json.dumps([board.measure, board.kind, board.metric, board.hardware, board.data, board.tuned, conditions])


def _table(found: list[tuple[str, Board]]) -> Table:
    first = found[0][1]
    settings = [_whole(first.measure, one) for one in first.conditions]
    apart = [key for key in settings[0] if len({str(one[key]) for one in settings}) > 1]
    names = tuple(words.conditions(settings, apart))
    rows = [
        (row.normalizer, folder, _in_order(row.values, board, first)) for folder, board in found for row in board.rows
    ]
    columns = list(zip(*(values for *_, values in rows), strict=True))
    # those of one place stand in the order of their values
    standing = zip(places(columns, first.metric), places(map(_bare, columns), first.metric), strict=True)
    lines = [
        (order, Line(f"{order[0]:.3g}", name, folder, _shown(values, first.metric)))
        for order, (name, folder, values) in zip(standing, rows, strict=True)
    ]
    return Table(
        title=_title(first, settings[0]),
        metric=first.metric,
        better="higher is better" if higher_is_better(first.metric) else "lower is better",
        shared=_shared(first, settings[0], apart),
        columns=names if len(names) <= _COLUMNS else ("best", "worst"),
        conditions=len(names),
        lines=tuple(line for _, line in sorted(lines, key=lambda one: (one[0], one[1].normalizer, one[1].folder))),
        folders=tuple(folder for folder, _ in found),
        warnings=_warnings(found),
        notes=tuple(dict.fromkeys(board.note for _, board in found if board.note)),
    )


def _whole(measure: str, told: Mapping[str, Setting]) -> dict[str, Setting]:
    """Fill in the settings that are at their defaults."""
    fields = MEASURES[measure].model_fields
    return {
        key: told.get(key, field.default) for key, field in fields.items() if not field.is_required() or key in told
    }


def _in_order(values: tuple[Estimate | str, ...], board: Board, first: Board) -> tuple[Estimate | str, ...]:
    """Put a board's values in the order of the first one's conditions."""
    return tuple(values[board.conditions.index(one)] for one in first.conditions)


def _shown(values: tuple[Estimate | str, ...], metric: str) -> tuple[Estimate | str, ...]:
    if len(values) <= _COLUMNS:
        return values
    ranked = sorted(values, key=lambda value: _goodness(value, metric))
    return ranked[-1], ranked[0]


def _title(board: Board, settings: Mapping[str, Setting]) -> str:
    on = [str(settings[key]) for key in ("model", "dataset") if settings.get(key)]
    what = words.label(board.metric) + (f", {board.kind}" if board.kind and board.kind != board.metric else "")
    return " · ".join(filter(None, (what, " on ".join(on), board.hardware)))


def _shared(board: Board, settings: Mapping[str, Setting], apart: list[str]) -> tuple[tuple[str, str], ...]:
    """Give the settings that all conditions share and that are not at their defaults, and what was tuned."""
    told = [key for key in settings if key in board.conditions[0] and key not in (*apart, "model", "dataset")]
    found = tuple((key, words.show_value(settings[key])) for key in told)
    return found + tuple((key, "tuned") for key in board.tuned)


def _warnings(found: list[tuple[str, Board]]) -> tuple[str, ...]:
    told: dict[str, set[str]] = {}
    for _, board in found:
        for key, values in board.versions.items():
            told.setdefault(key, set()).update(values)
    several = [f"{key} ({', '.join(sorted(values))})" for key, values in told.items() if len(values) > 1]
    return (f"Its records differ in {words.listed(several)}.",) if several else ()
