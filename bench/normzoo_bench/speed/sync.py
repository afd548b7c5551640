"""The measure ``sync_cost``: the time of a data-parallel training step of real processes, and of its collectives."""

from __future__ import annotations

from normzoo_bench import processes
from normzoo_bench.result import Result
from normzoo_suites.settings import SyncCostSettings


def measure(settings: SyncCostSettings) -> Result:
    """Start the ranks, and give what they have measured together; ``sync_rank`` is what each of them does.

    Raises:
        CannotRun: when a rank's batch has too few values for either normalizer.
        RankFailed: when a rank's process died, or raised anything else, as it does when logits are off.

    """
    (result,) = processes.measure([settings])
    assert isinstance(result, Result)  # for mypy: no rank gives anything else
    return result
