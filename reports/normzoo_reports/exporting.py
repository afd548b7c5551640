"""A run's records as one plain table, for Parquet and CSV: what a spreadsheet, pandas or DuckDB reads.

Not `export.py`: a module of that name would take the place of the function `normzoo_reports.export`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from normzoo_reports.digest import read
from normzoo_reports.files import replace
from normzoo_suites import Cell, Run, SuiteError
from normzoo_suites.metrics import METRICS
from normzoo_suites.settings import MEASURES

Columns = dict[str, list[Any]]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a cell of a spreadsheet begins with that is run and not shown (OWASP, "CSV injection")."""


def export(run: Path, out: Path) -> Path:
    """Write a run's records as the table that the file's ending names; see `normzoo_reports.export`."""
    write = FORMATS.get(out.suffix.lower())
    if write is None:
        raise SuiteError(f"cannot export to {out}: its name must end in {' or '.join(FORMATS)}")
    if out.is_dir():
        raise SuiteError(f"cannot export to {out}: it is a folder; name a file in it")
    content = write(read(run))
    try:
        return replace(content, out)
    except OSError as error:
        raise SuiteError(f"cannot export to {out}: {error.strerror or error}; name another file") from None


def table(run: Run) -> Columns:
    """Give a run's records as columns of equal length, a row for each cell and each trial that has a record.

    Settings and metrics keep their names, which never meet; what holds lists or comes from outside has a prefix:
    ``environment_``, ``series_``, ``samples_``. A gap (None) stands where a row's measure has no such column. Rows are
    in the order of measuring, trials first. Values are the records' own: a diverged run is not counted as chance here.
    """
    rows = [_row(run, cell, role) for role, cells in _roles(run) for cell in cells if cell.id in run.records]
    names = dict.fromkeys([*_FIRST, *_settings(run), *_metrics(rows), *_LAST])
    every = [*names, *sorted({key for row in rows for key in row} - set(names))]
    return {name: [row.get(name) for row in rows] for name in every}


def _roles(run: Run) -> tuple[tuple[str, Iterable[Cell]], ...]:
    return ("trial", run.trials), ("cell", run.cells)


_FIRST = ("id", "role", "suite", "protocol", "measure", "status", "reason", "same_as")
_LAST = ("seconds", "normalizer_source", "data_fingerprint", "command", "log")


def _row(run: Run, cell: Cell, role: str) -> dict[str, Any]:
    record = run.records[cell.id]
    row: dict[str, Any] = {
        "id": cell.id,
        "role": role,
        "suite": run.suite.name,
        "protocol": cell.protocol,
        "measure": cell.measure,
        "status": record.status,
        "reason": record.reason,
        "same_as": cell.same_as,
        "seconds": record.seconds,
        "normalizer_source": record.source_hash,
        "data_fingerprint": record.data_fingerprint,
        "command": record.command,
        "log": record.log,
    }
    # the cell's settings, not the record's: a cell that is the same computation as another has that one's record
    row |= cell.settings.model_dump()
    row |= {_apart(name): value for name, value in record.metrics.items()}
    for prefix, held in zip(_PREFIXES, (record.environment, record.series, record.samples), strict=True):
        row |= {f"{prefix}{name}": value for name, value in held.items()}
    return row


_LISTS = ("series_", "samples_")
_PREFIXES = ("environment_", *_LISTS)
_TAKEN = frozenset((*_FIRST, *_LAST, *(key for settings in MEASURES.values() for key in settings.model_fields)))


def _apart(metric: str) -> str:
    """Keep a metric that a stranger's record calls like a column of ours from taking its place."""
    return f"metric_{metric}" if metric in _TAKEN or metric.startswith(_PREFIXES) else metric


def _settings(run: Run) -> list[str]:
    measures = dict.fromkeys(cell.measure for _, cells in _roles(run) for cell in cells)
    return [key for measure in measures for key in MEASURES[measure].model_fields]


def _metrics(rows: list[dict[str, Any]]) -> list[str]:
    present = {key for row in rows for key in row}
    return [metric for metrics in METRICS.values() for metric in metrics if metric in present]


def to_parquet(run: Run) -> bytes:
    """Give the table as Parquet, with series and samples as lists; the same bytes for the same records and pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {_text(name): _array(values) for name, values in table(run).items()}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd", compression_level=9, version="2.6", store_schema=False)
    return bytes(sink.getvalue())


def _array(values: list[Any]) -> Any:
    """Give a column of the narrowest type that holds all of its values; what is of several kinds becomes text."""
    import pyarrow as pa

    told = [value for value in values if value is not None]
    kinds = {type(value) for value in told}
    if told and kinds <= {list} and all(isinstance(one, float) for value in told for one in value):
        return pa.array(values, pa.list_(pa.float64()))
    wide = any(isinstance(value, int) and abs(value) > 2**63 - 1 for value in told)
    if kinds == {bool} or (kinds == {int} and not wide):
        return pa.array(values)
    if told and kinds <= {int, float} and not wide:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def to_csv(run: Run) -> bytes:
    """Give the table as CSV (UTF-8) without series and samples, which no cell of a spreadsheet can hold.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, as OWASP advises: a normalizer may be
    called ``=HYPERLINK(…)``. Carriage returns become line feeds. Numbers are left alone, and Parquet has every text as
    it is.
    """
    columns = {name: values for name, values in table(run).items() if not name.startswith(_LISTS)}
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_harmless(name) for name in columns])
    writer.writerows([_harmless(value) for value in row] for row in zip(*columns.values(), strict=True))
    return file.getvalue().encode()


def _harmless(value: Any) -> Any:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    # before Python 3.13 a bare carriage return is not quoted, and its other half would begin a line
    text = _text(value).replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA) else text


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()  # JSON can hold half a surrogate pair, UTF-8 cannot


FORMATS: dict[str, Callable[[Run], bytes]] = {".parquet": to_parquet, ".csv": to_csv}
"""What a run's records can be written as, by the file's ending."""
