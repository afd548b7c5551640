"""In a child without network: a suite's normalizers, its data sets, and its plan."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from normzoo import NormalizerOptionError, UnknownNormalizerError, check_options, plugins
from normzoo_bench.diagnosis.finding import Finding, looked
from normzoo_suites import SuiteError, parse_call


def answers(asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give findings, as ``finding``; or what was wrong in what was asked, as ``usage``, and then nothing more.

    Of ``asked``: ``load``, files of normalizers; ``suite``, or None; ``normalizers`` and ``data``, what its cells name;
    ``request``, the keywords of ``plan``; ``scratch``, a folder for what is written; ``hub``, where data comes from.
    """
    if (mistake := _mistake(asked["load"], asked["normalizers"])) is not None:
        yield {"usage": mistake}
        return
    for file in asked["load"]:
        yield _said(Finding("normalizers", "good", f"{file} can be loaded"))
    if asked["suite"] is None:
        return
    ready = True
    for finding, is_ready in _data(asked):
        ready = ready and is_ready
        yield _said(finding)
    if not ready:
        found = f"{asked['suite']} was not planned, since data is not there, or not decoded yet"
        yield _said(Finding("plan", "warning", found, f"once it is there: normzoo plan {asked['suite']}"))
        return
    for finding in looked("plan", lambda: _plan(asked)):
        yield _said(finding)


def _said(finding: Finding) -> dict[str, Any]:
    return {"finding": vars(finding)}


def _mistake(load: list[str], normalizers: list[str]) -> str | None:
    """Load files of normalizers, and look for all that are named; say what is wrong in what was asked, or None."""
    try:
        for file in load:
            plugins.load(file)
        for call in map(parse_call, normalizers):
            check_options(call.name, call.options)
    except (plugins.PluginError, UnknownNormalizerError, NormalizerOptionError) as error:
        return str(error)
    return None


def _data(asked: Mapping[str, Any]) -> Iterator[tuple[Finding, bool]]:
    """Look at every data set, over caches whose files can be read, and where what is written goes to the scratch."""
    if not asked["data"]:
        return
    from normzoo_bench import data
    from normzoo_bench.caches import cache_folder

    os.environ["NORMZOO_CACHE"] = str(_overlay(cache_folder(), Path(asked["scratch"], "normzoo"), ""))
    if {name for _, name in asked["data"]} - set(data.EMBEDDED):
        import datasets

        # of the library's cache what came from the hub, OWNER___NAME: what it makes of folders is made anew
        own = Path(datasets.config.HF_DATASETS_CACHE)
        datasets.config.HF_DATASETS_CACHE = _overlay(own, Path(asked["scratch"], "datasets"), "___")
    from normzoo_bench.diagnosis.data_sets import look

    for kind, name in asked["data"]:
        ready: list[bool] = []

        def found(kind: data.Kind = kind, name: str = name, ready: list[bool] = ready) -> Iterator[Finding]:
            seen = look(kind, name, asked["hub"])
            ready.append(seen.ready)
            yield seen.finding

        yield from ((finding, all(ready) and bool(ready)) for finding in looked("data", found))


def _overlay(cache: Path, folder: Path, part: str) -> Path:
    """Make a folder that has what a cache has, by links to those whose names contain ``part``."""
    folder.mkdir()
    for kept in cache.iterdir() if cache.is_dir() else ():
        if part in kept.name and not kept.name.endswith((".part", ".lock")):
            (folder / kept.name).symlink_to(kept.resolve())
    return folder


def _plan(asked: Mapping[str, Any]) -> Iterator[Finding]:
    """Plan the suite as ``normzoo plan`` does."""
    from normzoo_bench.commands import plan

    try:
        made = plan(asked["suite"], out=asked["out"], **asked["request"])
    except SuiteError as error:
        yield Finding("plan", "fault", f"{asked['suite']} cannot be planned: {error}")
        return
    cells = [*made.trials, *made.cells]
    to_do, skipped = made.to_do(cells), [cell for cell in cells if cell.skip]
    counts = f"{len(to_do)} cells to measure, {len(skipped)} skipped, {len(cells) - len(to_do) - len(skipped)} the same"
    waiting = f", {made.waiting} that wait for their trials" if made.waiting else ""
    if to_do:
        yield Finding("plan", "good", f"{made.suite.name}: {counts} as another{waiting}")
    else:
        yield Finding(
            "plan", "fault", f"{made.suite.name}: nothing of it can be measured here", "see why cells are skipped"
        )
    for reason in dict.fromkeys(cell.skip for cell in skipped):
        who = [cell.settings.normalizer for cell in skipped if cell.skip == reason]
        yield Finding("plan", "warning", f"skipped ×{len(who)}: {', '.join(dict.fromkeys(who))}: {reason}")
