"""What a command line changes of a suite's tuning, and what must be said where it switches it off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import ValidationError

from normzoo_suites.errors import SuiteError, explain, show, show_key
from normzoo_suites.schema import Suite
from normzoo_suites.select import Select
from normzoo_suites.typed import typed_values
from normzoo_suites.values import Value

Tune = Mapping[str, str] | Literal["off"]
"""By setting the values that are tried, comma-separated; or ``off``."""


def change_select(suite: Suite, by_hand: Iterable[str], tune: Tune | None) -> Select | None:
    """Give a suite's tuning as a command line changes it: what is set by hand is tuned no more.

    Raises:
        SuiteError: for a setting that cannot be tuned, or where there is nothing to switch off.

    """
    given = _tried_values(tune, by_hand)
    if tune == "off":
        if suite.select is None:
            raise SuiteError(f"the suite {suite.name} tunes nothing that --tune off could switch off; leave it out")
        return None
    kept = suite.select.grid if suite.select else {}
    grid = {key: values for key, values in kept.items() if key not in by_hand} | given
    if not grid:
        return None
    if not given and suite.select:
        return suite.select.model_copy(update={"grid": grid})
    try:
        return Select.model_validate((suite.select.model_dump() if suite.select else {}) | {"grid": grid})
    except ValidationError as error:
        raise explain(error, lambda _: Select.model_fields) from None


def _tried_values(tune: Tune | None, by_hand: Iterable[str]) -> dict[str, list[Value]]:
    """Read the grid that ``--tune`` gives; ``by_hand`` are the settings that other options set.

    Raises:
        SuiteError: for a setting that is set by hand too, or with fewer than two values.

    """
    if tune is None or isinstance(tune, str):
        if tune not in (None, "off"):
            raise SuiteError(f"--tune takes KEY=V1,V2 or off, got {show(tune)}")
        return {}
    given = {key: typed_values("--tune", key, text) for key, text in tune.items()}
    for key, values in given.items():
        name = show_key(key)
        if key in by_hand:
            raise SuiteError(f"{name} is given by --set {name}= and by --tune {name}=; keep one")
        if len(values) < 2:
            only = show_key(str(values[0]))
            raise SuiteError(
                f"--tune {name}= tries one value, and a choice needs two or more; --set {name}={only} sets it"
            )
    return given


def told_untuned(before: Suite, after: Suite) -> str:
    """Say what a suite tunes and this change of it does not, and what follows for its claims; empty where all is tuned.

    >>> told_untuned(suite, change_suite(suite, tune="off"))
    'learning_rate is not tuned: every normalizer trains with 0.1; 2 claims on levels are not asked: …'
    """
    tuned = after.select.grid if after.select else {}
    left = [key for key in (before.select.grid if before.select else ()) if key not in tuned]
    if not left:
        return ""
    cells = [cell.settings.model_dump() for cell in after.cells() if cell.measure == "accuracy"]
    values = {key: ", ".join(dict.fromkeys(str(cell[key]) for cell in cells)) for key in left}
    what = " and ".join(f"{key} is not tuned: every normalizer trains with {told}" for key, told in values.items())
    levels = [claim.id for claim in before.claims if claim.compares_levels] if after.select is None else []
    if not levels:
        return what
    number = "1 claim on levels is" if len(levels) == 1 else f"{len(levels)} claims on levels are"
    return f"{what}; {number} not asked: {', '.join(levels)}"
