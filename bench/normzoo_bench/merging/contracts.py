"""Contract results joined: by normalizer the one that is of the source that was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from normzoo_bench.errors import UsageError
from normzoo_bench.merging.source import Source, named, read
from normzoo_suites import Record, SuiteError, parse_call
from normzoo_suites.contracts import FOLDER, ContractResult, file_name, read_result


@dataclass(frozen=True, eq=False)
class _Held:
    """What one folder holds of one normalizer."""

    source: Source
    result: ContractResult
    content: bytes


def joined_contracts(
    sources: Sequence[Source], records: Iterable[Record], prefer: Source | None
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Give the files of the joined results, by name; and by path what is wrong with those that are left out.

    Of results of several sources of a normalizer the one of the source that was measured is taken.

    Raises:
        UsageError: where two results of one source differ in what they found, and no folder is preferred.

    """
    measured = {(parse_call(one.settings["normalizer"]).name, one.source_hash) for one in records}
    found: dict[str, list[_Held]] = {}
    unreadable: dict[str, str] = {}
    for source in sorted(sources, key=lambda one: one is not prefer):
        for file in sorted((source.folder / FOLDER).glob("*.json")):
            try:
                held = _read(source, file)
            except SuiteError as error:
                unreadable[str(file)] = str(error)
            else:
                found.setdefault(file.name, []).append(held)
    taken = {}
    for name, every in found.items():
        ours = [one for one in every if _key(one.result) in measured] or every
        for other in ours[1:]:
            if ours[0].source is not prefer and _key(other.result) == _key(ours[0].result):
                _compare(ours[0], other)
        taken[name] = ours[0].content
    return taken, unreadable


def _read(source: Source, file: Path) -> _Held:
    content = read(file)
    result = read_result(content, file.name)
    if file_name(result.normalizer) != file.name:
        raise SuiteError(f"the contract result {file.name} is of another normalizer, {result.normalizer}")
    return _Held(source, result, content)


def _key(result: ContractResult) -> tuple[str, str]:
    return parse_call(result.normalizer).name, result.source_hash


def _compare(one: _Held, other: _Held) -> None:
    ours, theirs = ({found.check: found.outcome for found in held.result.findings} for held in (one, other))
    differing = [check for check in {**ours, **theirs} if ours.get(check) != theirs.get(check)]
    if differing:
        check = differing[0]
        raise UsageError(
            f"{named([one.source, other.source])} contradict each other in what `normzoo check` found of "
            f"{one.result.normalizer}: {check} is {ours.get(check, 'missing')} and {theirs.get(check, 'missing')}; "
            "--prefer FOLDER takes that folder's result"
        )
