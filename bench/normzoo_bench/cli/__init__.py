"""The command line. The only place that sees every room; each is imported where a command needs it."""

# their commands enter the application in this order
from normzoo_bench.cli import measuring, merging, reporting, reproducing, upkeep, zoo
from normzoo_bench.cli.app import app, main

__all__ = ["app", "main", "measuring", "merging", "reporting", "reproducing", "upkeep", "zoo"]
