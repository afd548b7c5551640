"""``--fail-on METRIC:LIMIT``: how much worse a metric may become, and which changes are beyond it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from normzoo_reports import words
from normzoo_reports.comparing.changes import ROUNDING, estimated
from normzoo_reports.comparing.outcomes import OUTCOMES, How
from normzoo_reports.comparing.results import Change
from normzoo_reports.comparing.ruling import Ruling
from normzoo_reports.comparing.text import change_text, range_text
from normzoo_suites import SuiteError
from normzoo_suites.errors import show, suggest

_WRITTEN = re.compile(r"([+−-])(\d+\.?\d*|\.\d+)(pp|%|)")
_PER_CENT = 100.0
_EXAMPLES = '"test_accuracy:-0.5pp" or "step_ms:+5%"'


@dataclass(frozen=True)
class Limit:
    """How far a metric may change in the bad direction.

    Attributes:
        text: as it was written.
        metric: the metric.
        sign: the bad direction, 1 where more is worse, or -1.
        size: how far it may go: a share of 1 for ``pp`` and ``%``, else in the metric's unit.
        relative: whether the size is a share of A's value.

    """

    text: str
    metric: str
    sign: int
    size: float
    relative: bool

    def how(self, change: Change) -> How:
        """Say how a change is told so that it can be held against this limit."""
        return "plain" if change.how == "ratio" and not self.relative else change.how

    def allowed(self, change: Change) -> float:
        """Give how far this change may go, as ``how`` tells it; without a ratio a share of A's mean."""
        return self.size * abs(change.a or 0) if self.relative and self.how(change) == "plain" else self.size


def parse(texts: Iterable[str]) -> list[Limit]:
    """Read what stands after ``--fail-on``.

    Raises:
        SuiteError: for a metric that is no outcome, a text that is no limit, a unit that does not go with the metric,
            or a sign that would fail on what is better.

    """
    return [_limit(text) for text in texts]


def rule(
    limits: Iterable[Limit], changes: Sequence[Change], unpaired: Mapping[str, int] | None = None
) -> tuple[Ruling, ...]:
    """Hold changes against limits; ``unpaired`` counts by metric the values in A whose cells B does not hold.

    A change breaks a limit where its mean is beyond it and, from 6 pairs, its interval does not hold "no change" too;
    and where a cell with a value in A has none in B. Intervals are not corrected for their number: who looks at many
    is told how many chance alone would bring.

    Raises:
        SuiteError: where no cell that both runs hold has a value of the metric in A: nothing could ever break it.

    """
    return tuple(_ruling(limit, changes, (unpaired or {}).get(limit.metric, 0)) for limit in limits)


def _limit(text: str) -> Limit:
    metric, colon, size = (part.strip() for part in text.partition(":"))
    if not colon:
        raise SuiteError(f"--fail-on takes METRIC:LIMIT, such as {_EXAMPLES}, got {show(text)}")
    if metric not in OUTCOMES:
        raise SuiteError(f"--fail-on: unknown metric {show(metric)}; {suggest(metric, OUTCOMES)}")
    found = _WRITTEN.fullmatch(size.replace(" ", ""))
    if not found:
        raise SuiteError(
            f"--fail-on {metric}: a limit is a sign, the direction that is bad, and a number{_units(metric)}, such as "
            f"{_example(metric)}; got {show(size)}"
        )
    sign, number, unit = 1 if found[1] == "+" else -1, float(found[2]), found[3]
    _check_unit(metric, unit, size)
    _check_sign(metric, sign, size)
    return Limit(text.strip(), metric, sign, number / (_PER_CENT if unit else 1), unit == "%")


def _check_unit(metric: str, unit: str, size: str) -> None:
    points = OUTCOMES[metric].how == "points"
    if points and unit != "pp":
        raise SuiteError(
            f"--fail-on {metric}: it is a share, so that a limit is in percentage points, such as {_example(metric)}; "
            f"got {size}"
        )
    if not points and unit == "pp":
        raise SuiteError(
            f"--fail-on {metric}: it is no share and has no percentage points; write a per cent of A's value, such as "
            f"{_example(metric)}, or a plain number; got {size}"
        )


def _check_sign(metric: str, sign: int, size: str) -> None:
    better = OUTCOMES[metric].better
    if better != "neither" and (better == "higher") == (sign > 0):
        raise SuiteError(
            f"--fail-on {metric}: {better} is better, and {size} would fail on that; the sign is the direction that is "
            f"bad, as in {_example(metric)}"
        )


def _units(metric: str) -> str:
    return " with pp" if OUTCOMES[metric].how == "points" else ", with % or in the metric's unit"


def _example(metric: str) -> str:
    outcome = OUTCOMES[metric]
    sign = "-" if outcome.better == "higher" else "+"
    return f"{metric}:{sign}{'0.5pp' if outcome.how == 'points' else '5%'}"


def _ruling(limit: Limit, changes: Sequence[Change], unpaired: int) -> Ruling:
    asked = [one for one in changes if one.metric == limit.metric and (one.n or one.lost)]
    if not asked:
        raise SuiteError(_nothing_to_hold(limit, changes))
    broken: list[tuple[Change, str]] = []
    doubtful: list[tuple[Change, str]] = []
    for one in asked:
        if one.lost:
            broken.append((one, "; ".join(one.notes)))
        elif told := _beyond(limit, one):
            text, shown = told
            (broken if shown else doubtful).append((one, text))
    few = sum(_few(one) for one in asked)
    return Ruling(limit.text, tuple(broken), tuple(doubtful), len(asked), few, unpaired)


def _nothing_to_hold(limit: Limit, changes: Sequence[Change]) -> str:
    known = list(dict.fromkeys(one.metric for one in changes if one.n or one.lost))
    has = f"it has {', '.join(known)}" if known else "it has none that B could be held against"
    return f"--fail-on {limit.text}: no cell that both runs hold has a value of {limit.metric} in A; {has}"


def _estimated(change: Change, how: How) -> tuple[float, tuple[float, float] | None]:
    if how != change.how or change.change is None:
        return estimated(change.pairs, how)
    return change.change, None if change.low is None or change.high is None else (change.low, change.high)


def _few(change: Change) -> bool:
    return change.n > 0 and change.low is None


def _beyond(limit: Limit, change: Change) -> tuple[str, bool] | None:
    """Say how a change is beyond the limit, and whether more than its mean says so; None where it is not."""
    how = limit.how(change)
    value, ends = _estimated(change, how)
    over = limit.sign * value - limit.allowed(change)
    if over <= ROUNDING or math.isclose(limit.sign * value, limit.allowed(change), rel_tol=1e-9):
        return None
    several = words.count(change.n, "pair")
    if ends is None:
        though = ", though the spreads of their samples meet" if change.tone == "open" else ""
        return f"{change_text(how, value)}, {several}: the mean alone decides{though}", True
    shown = min(limit.sign * end for end in ends) > ROUNDING
    return f"{change_text(how, value)} {range_text(how, *ends)}, {several}", shown
