"""What is asked: suites, their cells, the records that answer them. Knows no other room and needs no torch."""

from normzoo_suites.calls import Call, parse_call
from normzoo_suites.cell import Cell
from normzoo_suites.claim import Claim
from normzoo_suites.errors import SuiteError
from normzoo_suites.figure import Figure
from normzoo_suites.grid import Grid
from normzoo_suites.load import change_suite, load_suite, parse_suite, suite_names
from normzoo_suites.record import FINAL, SCHEMA, Record, read_record
from normzoo_suites.run_folder import Run, read_run
from normzoo_suites.schema import Suite

__all__ = [
    "FINAL",
    "SCHEMA",
    "Call",
    "Cell",
    "Claim",
    "Figure",
    "Grid",
    "Record",
    "Run",
    "Suite",
    "SuiteError",
    "change_suite",
    "load_suite",
    "parse_call",
    "parse_suite",
    "read_record",
    "read_run",
    "suite_names",
]
