"""The largest batch that fits, by doubling and bisection."""

from __future__ import annotations

from collections.abc import Callable


def largest_that_fits(first: int, fits: Callable[[int], bool]) -> int:
    """Give the largest number that fits, or 0 where not even 1 does; no number is asked twice.

    From ``first`` on numbers are doubled until one does not fit, or halved until one does; then what lies between the
    last two is bisected. Right only where whatever is smaller than what fits, fits as well.
    """
    low, high = 0, first  # the one fits, the other does not
    if fits(first):
        low, high = first, 2 * first
        while fits(high):
            low, high = high, 2 * high
    else:
        while high > 1 and not fits(high // 2):
            high //= 2
        low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
