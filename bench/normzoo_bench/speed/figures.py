"""From samples to the numbers of a record."""

from __future__ import annotations

import numpy as np

from normzoo_bench.timing import Pairs


def spread(name: str, timed: Pairs) -> dict[str, float]:
    """Give median, 10th and 90th percentile of a time and of its paired ratios, and batch norm's median."""
    found: dict[str, float] = {}
    for key, values in ((name, timed.candidate), (f"{name}_ratio", timed.ratios())):
        low, middle, high = (float(value) for value in np.percentile(values, [10, 50, 90]))
        found |= {key: middle, f"{key}_p10": low, f"{key}_p90": high}
    return found | {f"batch_norm_{name}": float(np.median(timed.reference))}
