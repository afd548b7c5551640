"""What a user asks of `plan` and `run`, and the command line that asks it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from normzoo_suites.calls import split_commas
from normzoo_suites.tune import Tune


@dataclass(frozen=True)
class Request:
    """A suite and what is changed of it.

    Attributes:
        suite: a built-in suite's name or the path of a TOML file.
        settings: by setting, the comma-separated values that replace it.
        normalizers: what to measure instead of the suite's own; None for these.
        seeds: how many seeds; None for as many as the suite says.
        repeats: how many fresh processes for what is timed; None for as many as the suite says.
        device: ``cpu``, ``cuda`` or ``auto``; None for what the suite says.
        load: Python files with normalizers.
        cell: the beginning of one cell's id; None for all.
        tune: by setting, the comma-separated values that are tried instead of the suite's own; ``off`` tunes nothing.
        shard: which part of the plan is measured, and of how many; None for all of it.
        elsewhere: whether other machines measure it, whatever devices there are here.

    """

    suite: str
    settings: Mapping[str, str] = field(default_factory=dict)
    normalizers: tuple[str, ...] | None = None
    seeds: int | None = None
    repeats: int | None = None
    device: str | None = None
    load: tuple[str, ...] = ()
    cell: str | None = None
    tune: Tune | None = None
    shard: tuple[int, int] | None = None
    elsewhere: bool = False

    def command(self, cell: str | None = None, out: str | None = None, tuned: Mapping[str, str] | None = None) -> str:
        """Give the command line that asks the same, for one cell where its id is given, and what has tuned it.

        Absolute paths are left out of it, since it stands in records that are published; and the shard, since that is
        of a machine, not of a cell.
        """
        words = ["normzoo", "run", _shown(self.suite)]
        for key, value in {**self.settings, **(tuned or {})}.items():
            words += ["--set", f"{key}={_shown(value)}"]
        words += [] if tuned else self._tune_words()  # what is set is tuned no more
        if self.normalizers is not None:
            words += ["--normalizers", ",".join(self.normalizers)]
        for option, given in (("--seeds", self.seeds), ("--repeats", self.repeats), ("--device", self.device)):
            words += [option, str(given)] if given is not None else []
        for path in self.load:
            words += ["--load", _shown(path)]
        wanted = cell or self.cell
        words += ["--cell", wanted] if wanted else []
        words += ["--out", _shown(out)] if out else []
        return shlex.join(words)

    def _tune_words(self) -> list[str]:
        if self.tune is None or isinstance(self.tune, str):
            return ["--tune", self.tune] if self.tune else []
        return [word for key, values in self.tune.items() for word in ("--tune", f"{key}={values}")]


def _shown(text: str) -> str:
    """Show paths as they were typed, or by their last part alone where they are absolute."""
    return ",".join(_shown_one(piece) for piece in split_commas(text))


def _shown_one(text: str) -> str:
    path, bracket, options = text.partition("(")
    return f"PATH_TO/{Path(path).name}{bracket}{options}" if Path(path).expanduser().is_absolute() else text
