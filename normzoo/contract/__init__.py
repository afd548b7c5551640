"""The contract kit: holds a normalizer to what its card claims.

>>> from normzoo.contract import run_checks
>>> [finding for finding in run_checks("group_norm") if not finding.ok]
[]

One list of checks serves the tests of this project, ``normzoo check`` and the authors of normalizers elsewhere.
"""

from normzoo.contract._options import with_options
from normzoo.contract._probe import ContractError
from normzoo.contract._processes import check_two_processes_behave_as_the_pools_say
from normzoo.contract._run import CHECKS, Check, Finding, Outcome, run_checks, run_checks_for_all

__all__ = [
    "CHECKS",
    "Check",
    "ContractError",
    "Finding",
    "Outcome",
    "check_two_processes_behave_as_the_pools_say",
    "run_checks",
    "run_checks_for_all",
    "with_options",
]
