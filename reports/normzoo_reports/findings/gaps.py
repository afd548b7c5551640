"""Tables whose rows are to be compared over all columns, and so may have no gaps."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from normzoo_reports import words
from normzoo_reports.plain import isolated

_NAMED = 3


def without_gaps(whole: pd.DataFrame) -> pd.DataFrame:
    """Leave out rows, or else columns, that have gaps: what keeps more values, of equals all columns."""
    present = whole.dropna(how="all")
    all_columns, all_rows = present.dropna(), present.dropna(axis="columns")
    return all_columns if all_columns.size >= all_rows.size else all_rows


def left_out(whole: pd.DataFrame, kept: pd.DataFrame) -> str:
    """Say which rows and columns were left out, and what they lack; empty where none was."""
    columns = [(name, whole.index[whole[name].isna()]) for name in whole if name not in kept]
    rows = [(name, whole.columns[whole.loc[name].isna()]) for name in whole.index if name not in kept.index]
    told = [f"{isolated(str(name))} (without {_listed(lacking)})" for name, lacking in [*columns, *rows]]
    return f"Left out: {'; '.join(told[:_NAMED])}{_more(told)}." if told else ""


def _listed(lacking: Iterable[object]) -> str:
    names = [isolated(str(name)) for name in lacking]
    return words.listed(names) if len(names) <= _NAMED else f"{names[0]} and {len(names) - 1} more"


def _more(told: list[str]) -> str:
    return f"; and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
