"""How it is measured: plans, runs and records. What the command line does, as functions of the same names.

>>> import normzoo_bench
>>> result = normzoo_bench.run("quick", seeds=2, out="runs/mine")  # doctest: +SKIP
"""

from typing import Any

__all__ = ["UsageError", "check", "clean", "doctor", "env", "merge", "plan", "reproduce", "run", "status"]


def __getattr__(name: str) -> Any:
    # on demand: the command line imports this package, and its help must not wait for torch
    if name == "UsageError":
        from normzoo_bench.errors import UsageError

        return UsageError
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("normzoo_bench.commands"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
