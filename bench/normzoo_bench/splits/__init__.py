"""Which samples make up a step, and which rank has which: batch position i belongs to rank i mod ranks.

``draw`` says which samples make up a step, ``split`` who owns which data across ranks, and ``dealing`` how one step's
samples are dealt to the ranks. One of them at a time is another than iid. The test stream has its orders, and its
corruptions, from here too.
"""

from normzoo_bench.splits.checking import check, check_order
from normzoo_bench.splits.draw import order
from normzoo_bench.splits.manifest import manifest
from normzoo_bench.splits.ownership import owner_of, owners
from normzoo_bench.splits.shifts import check_corruption, corrupted, shifted
from normzoo_bench.splits.steps import epochs, steps

__all__ = [
    "check",
    "check_corruption",
    "check_order",
    "corrupted",
    "epochs",
    "manifest",
    "order",
    "owner_of",
    "owners",
    "shifted",
    "steps",
]
