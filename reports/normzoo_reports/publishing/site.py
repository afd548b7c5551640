"""A site put together: what is new is made and written, all else is left, and the index comes last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from normzoo_reports.digest import read
from normzoo_reports.publishing import fingerprints
from normzoo_reports.publishing.entries import NAME, OURS, Entry, Held, read_entries
from normzoo_reports.publishing.outcome import Published
from normzoo_reports.publishing.pages import MARK, PAGES, pages
from normzoo_reports.publishing.places import Place, open_place
from normzoo_reports.publishing.pool import make_all
from normzoo_suites import SuiteError


@dataclass(frozen=True)
class _Asked:
    """A run, its folder in the site, and whether that is the run's own."""

    run: Path
    folder: str
    own: bool


def publish(runs: Iterable[Path], to: str | Path, dry_run: bool, jobs: int | None) -> Published:
    """Publish runs; see `normzoo_reports.publish`."""
    place = open_place(to)
    every = list(runs)
    skipped = [run for run in every if run.is_file()]
    paths = place.paths()
    held = read_entries(place, paths)
    asked = _placed([run for run in every if run not in skipped], place)
    if not asked and not held.entries:
        raise SuiteError(f"nothing to publish to {place.name}: name at least one run folder")
    _require_index(place, paths)
    for one in asked:
        _require_room(one, paths, held, place)
    stale = [one for one in asked if not _fresh(one, paths, held)]
    for one in stale:  # what cannot be shown is told before anything is written
        read(one.run)
    new = {} if dry_run else _write_reports(stale, place, jobs)
    # read again: somebody may have published to the same place meanwhile
    entries = (held if dry_run else read_entries(place, place.paths())).entries | new
    written = [f"{one.folder}/{name}" for one in stale for name in OURS]
    written += PAGES if dry_run and stale else _write_pages(place, paths, entries, dry_run)
    made = [one.folder for one in stale]
    return Published(
        to=place.name,
        dry_run=dry_run,
        reports=tuple(made),
        left=tuple(folder for folder in sorted(entries) if folder not in made),
        written=tuple(written),
        # in a gallery made in place, `*` names the site's own pages, too
        skipped=tuple(str(file) for file in skipped if place.root is None or file.parent != place.root),
        broken=tuple(
            f"{path}: {why}" for path, why in held.broken.items() if path.removesuffix(f"/{NAME}") not in made
        ),
        note="" if dry_run else place.finish(_message(made)),
    )


def _placed(runs: list[Path], place: Place) -> list[_Asked]:
    """Find each run's folder in the site: its own where it lies in there, else one of its name."""
    found: dict[str, _Asked] = {}
    root = place.root.resolve() if place.root else None
    for real, run in {run.resolve(): run for run in runs}.items():
        own = root is not None and real.is_relative_to(root)
        folder = real.relative_to(root).as_posix() if own and root else real.name
        if not folder.isprintable():
            raise SuiteError(f"cannot publish {run}: a link cannot hold the name {folder!r}; rename the folder")
        if folder == ".":
            raise SuiteError(f"cannot publish {run} to itself; name the folder that it lies in, or another one")
        if any(part.startswith(".") or part in (*PAGES, "cells", "") for part in folder.split("/")):
            raise SuiteError(f"cannot publish {run}: a site has no folder {folder!r}; rename it")
        if folder in found:
            raise SuiteError(
                f"{found[folder].run} and {run} would both be published as {folder}; rename one of the folders"
            )
        found[folder] = _Asked(run, folder, own)
    return list(found.values())


def _require_index(place: Place, paths: set[str]) -> None:
    for page in PAGES:
        if page in paths and MARK.encode() not in place.read(page):
            raise SuiteError(
                f"{place.name} has a page {page} that normzoo did not write; publish to a folder of its own in there"
            )


def _require_room(one: _Asked, paths: set[str], held: Held, place: Place) -> None:
    """Refuse to write over what is no report of this run.

    Raises:
        SuiteError: when the site has something else in its folder: a file, other files, another run of its name.

    """
    if one.own:
        return
    there = f"{place.name} holds"
    entry = held.entries.get(one.folder)
    inside = [path.removeprefix(f"{one.folder}/") for path in sorted(paths) if path.startswith(f"{one.folder}/")]
    foreign = [name for name in inside if name not in OURS]
    if foreign or one.folder in paths:
        what = f"a folder {one.folder} with {foreign[0]}" if foreign else f"a file {one.folder}"
        raise SuiteError(
            f"cannot publish {one.run}: {there} {what}, which is no published report; rename the run's folder"
        )
    if f"{one.folder}/{NAME}" in held.broken:
        why = held.broken[f"{one.folder}/{NAME}"]
        raise SuiteError(f"cannot publish {one.run}: {there} {one.folder}/{NAME}, but {why}; remove that folder first")
    if entry and not fingerprints.same_run(one.run, entry.witnesses):
        raise SuiteError(
            f"cannot publish {one.run}: {there} another run as {one.folder} (suite {entry.suite}, {entry.count} "
            "records, none of which this one has); rename this run's folder, or remove that one to replace it"
        )


def _fresh(one: _Asked, paths: set[str], held: Held) -> bool:
    entry = held.entries.get(one.folder)
    whole = all(f"{one.folder}/{name}" in paths for name in OURS)
    if entry is None or not whole or entry.code != fingerprints.of_code():
        return False
    try:
        return entry.records == fingerprints.of_records(one.run, but=NAME)
    except OSError as error:
        raise SuiteError(f"cannot read {error.filename}: {error.strerror}") from None


def _write_reports(stale: list[_Asked], place: Place, jobs: int | None) -> dict[str, Entry]:
    """Write each report as soon as it is made, its entry last: only then is it there."""
    new = {}
    for one, made in zip(stale, make_all([one.run for one in stale], jobs), strict=True):
        for name, content in made.files.items():
            place.write(f"{one.folder}/{name}", content)
        new[one.folder] = made.entry
    return new


def _write_pages(place: Place, paths: set[str], entries: Mapping[str, Entry], dry_run: bool) -> list[str]:
    """Write the pages that are made of all entries, where they changed, the index last."""
    changed = {
        name: content for name, content in pages(entries).items() if name not in paths or place.read(name) != content
    }
    for name, content in changed.items() if not dry_run else ():
        place.write(name, content)
    return list(changed)


def _message(reports: list[str]) -> str:
    if not reports:
        return "Publish the index anew"
    more = f" and {len(reports) - 3} more" if len(reports) > 3 else ""
    return f"Publish {', '.join(reports[:3])}{more}"
