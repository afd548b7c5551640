"""What the merged run says of itself: the looks that were taken, and the command line that goes on with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from normzoo_bench.files import real
from normzoo_bench.merging.plan import Joined
from normzoo_bench.merging.source import Source
from normzoo_suites import Suite

_AND = " && "


def looks(sources: Sequence[Source], suite: Suite) -> list[int]:
    """Give the numbers of seeds, or repeats, at which results could be seen before more were there.

    Joining shards of one plan is none, since no shard has all results of its plan. A folder that had all of its, with
    fewer seeds than are joined now, could be looked at, and whether it was nobody can tell.
    """
    found = [look for source in sources for look in source.run.looks]
    parts = [source for source in sources if source.run.suite.grids != suite.grids and _finished(source)]
    asked = _replicates(suite, suite.replicates) if parts else 0
    seen = [_replicates(source.run.suite, suite.replicates) for source in parts]
    return list(dict.fromkeys([*found, *(number for number in seen if asked > number > 0)]))


def _finished(source: Source) -> bool:
    """Tell whether a folder has a record, readable or not, of all that it planned."""
    waited = [cell.id for cell in source.run.cells if not (cell.skip or cell.same_as)]
    there = source.records.keys() | {name.removesuffix(".json") for name in source.unreadable}
    return bool(waited) and there >= set(waited) and not source.run.waiting


def _replicates(suite: Suite, counted: str) -> int:
    return len({cell.settings.replicate for cell in suite.cells() if counted == cell.settings.REPLICATES})


def command(sources: Sequence[Source], joined: Joined, to: Path) -> str:
    """Give the command line that goes on with the merged run.

    It is that of a folder that planned the whole, as every shard does. Where none did, no one command asks for all:
    each folder's own goes on with its part, and then they are merged again.
    """
    size = len(joined.cells) + joined.waiting  # every folder's cells are among them
    for source in sources:
        if len(source.run.cells) + source.run.waiting == size and _AND not in source.run.command:
            return _into(source.run.command, to)
    return _one_after_another(sources, to)


def _into(text: str, to: Path) -> str:
    """Give a command line of `run` with another folder."""
    try:
        words = shlex.split(text)
    except ValueError:  # nothing that normzoo wrote
        return text
    if "--out" in words:
        place = words.index("--out")
        del words[place : place + 2]
    return shlex.join([*words, "--out", _shown(to)])


def _one_after_another(sources: Sequence[Source], to: Path) -> str:
    """Give all folders' commands, each once, and the merging of all that was ever merged into this one."""
    merging = ["normzoo", "merge"]
    ending = shlex.join(["--to", _shown(to)])
    parts: list[str] = []
    folders = [_shown(source.folder) for source in sources if real(source.folder) != real(to)]
    earlier: list[str] = []
    for part in (part for source in sources for part in source.run.command.split(_AND)):
        if part.startswith("normzoo merge ") and part.endswith(f" {ending}"):
            earlier += shlex.split(part.removesuffix(ending))[2:]
        else:
            parts.append(part)
    folders = list(dict.fromkeys([*earlier, *folders]))
    return _AND.join([*dict.fromkeys(parts), shlex.join([*merging, *folders, "--to", _shown(to)])])


def _shown(folder: Path) -> str:
    """Show a path as it was typed, or by its last part alone where it is absolute: run.json is published."""
    return f"PATH_TO/{folder.name}" if folder.is_absolute() else str(folder)
