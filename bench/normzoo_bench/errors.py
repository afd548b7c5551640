"""The one error of this room."""

from normzoo_suites import SuiteError


class UsageError(SuiteError):
    """What was asked for cannot be done; the message says what is wrong and what to do, and is meant for the user."""
