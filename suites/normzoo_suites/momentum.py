"""Running statistics forget by the step, and steps of other batch sizes are other amounts of data."""

from __future__ import annotations

from normzoo_suites.errors import SuiteError
from normzoo_suites.schema import Suite


def check_batch_sizes(suite: Suite) -> None:
    """Require that a suite in which the batch size varies says what momentum counts.

    With momentum 0.1 per step, running statistics look back on about 10 steps: 1,280 samples at batch size 128, and 20
    at 2. Whoever compares the two must say whether that is meant.

    Raises:
        SuiteError: otherwise.

    """
    trained = [grid for grid in suite.grids if grid.measure == "accuracy"]
    sizes = {size for grid in trained for size in grid.values().get("batch_size", [])}
    silent = [grid for grid in trained if "momentum_counts" not in grid.values()]
    if len(sizes) > 1 and silent:
        raise SuiteError(
            f"batch_size varies ({', '.join(map(str, sorted(sizes)))}), and running statistics forget by the step; say "
            f'if that is meant: set momentum_counts to "steps", or to "samples(per={max(sizes)})" for equal memory',
            ("grids", suite.grids.index(silent[0])),
        )
