"""The command line. The only place that sees every room; each is imported where a command needs it."""

from normzoo_bench.cli import measuring, reporting, upkeep, zoo  # their commands enter the application in this order
from normzoo_bench.cli.app import app, main

__all__ = ["app", "main", "measuring", "reporting", "upkeep", "zoo"]
