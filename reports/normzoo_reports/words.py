"""How numbers, settings and metrics are put into words; the page and the terminal share it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from normzoo_reports.labels import COMPUTED, METRICS, SETTINGS
from normzoo_reports.plain import isolated, plain

STATUS = {
    "ok": "measured",
    "diverged": "diverged (counted with chance accuracy)",
    "skipped": "skipped as impossible",
    "oom": "out of memory",
    "timeout": "timed out",
    "crashed": "crashed",
    "error": "failed with an error",
    "missing": "not measured yet",
    "waiting": "waiting for the tuning",
    "unreadable": "unreadable",
}
"""What became of a cell, in words."""

GRADES = {"primary": "primary source", "figure": "read off a figure", "transcribed": "transcribed"}
"""How a published value was come by, in words."""

_GROUPED = 1000  # from here on digits stand in groups; %g would soon turn to exponents
_HUGE = 1e15  # beyond it a float's zeros say nothing
_QUIET = ("iid", "shuffled", "rank0", "contiguous")  # a default that a reader need not see beside another setting


def label(name: str) -> str:
    """Name a metric or a setting for an axis or a heading."""
    return {**METRICS, **COMPUTED, **SETTINGS}.get(name) or plain(name.replace("_", " "))


def is_share(metric: str) -> bool:
    """Whether a metric is a share or a gap between two, compared in percentage points."""
    return "accuracy" in metric or metric == "share_of_limit" or is_gap(metric)


def is_gap(metric: str) -> bool:
    """Whether a metric is by itself a difference of two shares, and so has a sign."""
    return metric in ("train_eval_gap", "label_leak", "forgotten_eval_drop")


def has_chance(metric: str) -> bool:
    """Whether a run that diverged counts with chance accuracy in this metric."""
    return "accuracy" in metric and metric != "chance_accuracy"


def show(metric: str, value: float) -> str:
    """Show a value: 97.8 %, 1.62×, +3.2 points for a gap, or a plain number."""
    if is_gap(metric):
        return show_change(metric, value)
    if is_share(metric):
        return f"{100 * value:.1f} %"
    if "ratio" in metric:
        return f"{value:.2f}×" if 0.01 <= value < 10_000 else f"{value:.3g}×"
    return digits(value)


def digits(value: float) -> str:
    """Show four significant digits, and all of a large number's up to the point: 0.01235, 12.35, 12,346."""
    return f"{value:,.0f}" if _GROUPED <= abs(value) < _HUGE else f"{value:.4g}"


def show_range(metric: str, low: float, high: float) -> str:
    """Show an interval without repeating the unit."""
    if is_gap(metric):
        return show_change_range(metric, low, high)
    first, second = show(metric, low), show(metric, high)
    return f"[{first.rstrip(' %×')}, {second.rstrip(' %×')}]"


def show_change(metric: str, value: float) -> str:
    """Show a difference: percentage points for accuracies, a share of batch norm's time for ratios to it, MiB, ms."""
    unit = _unit_of_change(metric)
    number = f"{100 * value:+,.1f}" if unit in _IN_HUNDREDTHS else f"{value:+.4g}"
    number = number[1:] if float(number.replace(",", "")) == 0 else number.replace("-", "−")  # nothing has no sign
    return f"{number}{unit}"


def show_change_range(metric: str, low: float, high: float) -> str:
    """Show the interval of a difference."""
    unit = _unit_of_change(metric)
    return f"[{show_change(metric, low).removesuffix(unit)}, {show_change(metric, high).removesuffix(unit)}]"


_IN_HUNDREDTHS = (" points", " %")


def _unit_of_change(metric: str) -> str:
    if is_share(metric):
        return " points"
    if "ratio" in metric:
        return " %"
    return " MiB" if metric.endswith("_mib") else " ms" if metric.endswith("_ms") else ""


def show_value(value: Any) -> str:
    """Show a setting's value; a whole number gets no decimal point, and 1e30 no thirty zeros."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < _HUGE
    return str(int(value)) if whole else plain(str(value))


def broken(name: str, room: int) -> list[str]:
    """Break a name into lines of at most so many letters; a piece that is longer by itself stays whole."""
    lines = [""]
    for piece in (part for word in re.split("(?<= )", name) for part in pieces(word)):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > room:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def shortened(name: str, most: int = 48) -> str:
    """Leave out the middle of a name that is longer than a figure has room for; the table beside it has the whole."""
    half = most // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def pieces(name: str) -> list[str]:
    """Cut a name where it may be broken besides at spaces: after an underscore, and before a parenthesis."""
    return re.split(r"(?<=_)|(?<=\w)(?=\()", name)


def condition(settings: Mapping[str, Any], keys: Iterable[str]) -> str:
    """Name a condition by those settings: "ranks 5 (8 each), exclusive_classes"."""
    parts = [_setting(settings, key) for key in keys if key in settings and settings[key] == settings[key]]
    loud = [part for part in parts if part not in _QUIET]
    return ", ".join(loud or parts)


def conditions(every: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """Name conditions by those settings, such that one name never stands for two of them.

    Two settings may take the same value: where that makes names meet, they name their settings.
    """
    names = [condition(settings, keys) for settings in every]
    told = [tuple((key, show_value(one[key])) for key in keys if key in one and one[key] == one[key]) for one in every]
    whose: dict[str, set[tuple[tuple[str, str], ...]]] = {}
    for name, of in zip(names, told, strict=True):
        whose.setdefault(name, set()).add(of)
    return [
        name if len(whose[name]) == 1 else ", ".join(f"{key} {isolated(value)}" for key, value in of)
        for name, of in zip(names, told, strict=True)
    ]


def listed(names: Iterable[str]) -> str:
    """Join names as a sentence has them: "a", "a and b", "a, b and c"."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def looked(looks: Sequence[int], counted: str = "seed") -> str:
    """Say that seeds, or repeats, were added after looking at so many, or nothing where none were."""
    if not looks:
        return ""
    seen = " and at ".join(count(number, counted) for number in looks)
    return f"{counted.capitalize()}s were added after a look at {seen}: these p-values belong to a new family."


def listing(numbers: Iterable[int]) -> str:
    """Shorten whole numbers: "0 to 4, 7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def count(number: int, thing: str) -> str:
    """Count things: "1 cell", "3 cells"."""
    return f"{number} {thing}" if number == 1 else f"{number:,} {thing}s"


def _setting(settings: Mapping[str, Any], key: str) -> str:
    value = settings[key]
    if key == "ranks" and settings.get("batch_size"):
        return f"ranks {show_value(value)} ({show_value(settings['batch_size'] / value)} each)"
    alone = isinstance(value, str) and key != "learning_rate" and value != "none"
    return isolated(value) if alone else f"{key} {isolated(show_value(value))}"


def plain_value(value: Any) -> str:
    """Show what a record holds as it is: yes and no, none, text as text, and all else as JSON."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
