"""Values and changes in words, with more digits than a report has: small changes must be seen."""

from __future__ import annotations

from normzoo_reports import words
from normzoo_reports.comparing.outcomes import How

_ROUNDING = 1e-12  # of a share: less is the order of a sum


def value_text(metric: str, value: float) -> str:
    """Show a value so that small changes are seen: "97.81 %", "1.623×", "12.35"."""
    if words.is_gap(metric):
        return change_text("points", value)
    if words.is_share(metric):
        return f"{100 * value:.2f} %"
    return f"{value:.4g}×" if "ratio" in metric else words.digits(value)


def change_text(how: How, value: float) -> str:
    """Show a change: "−1.20 points", "+5.1 %", "+3"."""
    return _signed(how, value) + {"points": " points", "ratio": " %", "plain": ""}[how]


def range_text(how: How, low: float, high: float) -> str:
    """Show the interval of a change, without the unit."""
    return f"[{_signed(how, low)}, {_signed(how, high)}]"


def _signed(how: How, value: float) -> str:
    places = {"points": 2, "ratio": 1, "plain": 0}[how]
    value = 0.0 if abs(value) < _ROUNDING else value
    number = f"{value:+.4g}" if how == "plain" else f"{100 * value:+,.{places}f}"
    if value and float(number.replace(",", "")) == 0:  # a change that rounding would hide
        number = f"{100 * value:+.1g}"
    return number[1:] if float(number.replace(",", "")) == 0 else number.replace("-", "−")
