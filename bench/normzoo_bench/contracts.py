"""Normalizers held to their contract: which are meant, what was found, and the files that a report reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import normzoo
from normzoo import Card, NormalizerOptionError, UnknownNormalizerError, contract, plugins
from normzoo_bench.environment import environment
from normzoo_bench.errors import UsageError
from normzoo_bench.files import write_whole
from normzoo_suites import Run, parse_call, read_run
from normzoo_suites.contracts import FOLDER, ContractResult, Finding, file_name


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        results: by normalizer, as settings spell it.
        left_out: by normalizer, why it was not checked: the contract's checks cannot build it with its options.
        folder: where the results were written, or None.

    """

    results: dict[str, ContractResult]
    left_out: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def kept(self) -> bool:
        """Whether all that were checked keep their contract."""
        return all(finding.ok for result in self.results.values() for finding in result.findings)


def check(
    targets: Sequence[str], to: Path | None, announce: Callable[[Sequence[str]], None] = lambda names: None
) -> Checked:
    """Hold normalizers to their cards.

    Args:
        targets: names, with options if any, and files of normalizers; none for all of the run ``to``.
        to: the run folder that the results are for; only normalizers of that run are taken.
        announce: is told what will be checked, before the seconds that it takes.

    Raises:
        UsageError, PluginError, SuiteError: for a normalizer or a run that is not there, or does not have the other.

    """
    run = read_run(to) if to is not None else None
    names = _wanted(targets, run)
    cards: list[Card] = []
    left_out: dict[str, str] = {}
    for name in names:
        try:
            cards.append(_card(name))
        except NormalizerOptionError as error:
            if targets:
                raise UsageError(str(error)) from None
            left_out[name] = str(error)  # of a whole run, the others can be checked
    announce([card.name for card in cards])
    found = contract.run_checks_for_all(cards) if cards else {}
    results = {card.name: _result(card, found[card.name]) for card in cards}
    if run is not None:
        _write(run.folder, results.values())
    return Checked(results, left_out, run.folder / FOLDER if run is not None else None)


def _wanted(targets: Sequence[str], run: Run | None) -> list[str]:
    """Give the spellings that are meant; a file means its normalizers, in every spelling that the run has of them."""
    theirs = list(dict.fromkeys(cell.settings.normalizer for cell in run.cells or run.trials)) if run else []
    if not targets and run is None:
        raise UsageError(
            "name a normalizer or a file to check, or with --to RUN all of a run; `normzoo list` has names"
        )
    wanted: list[str] = []
    for target in targets:
        if target.endswith(".py"):
            registered = plugins.load(target)
            of_run = [name for name in theirs if parse_call(name).name in registered]
            wanted += of_run if run else registered
            missing = not of_run
        else:
            wanted.append(name := str(parse_call(target)))
            missing = name not in theirs
        if run and missing:
            raise UsageError(f"{run.folder} did not measure {target}; it has: {', '.join(theirs)}")
    return list(dict.fromkeys(wanted or theirs))


def _card(spelling: str) -> Card:
    call = parse_call(spelling)
    try:
        return contract.with_options(call.name, call.options, spelling)
    except UnknownNormalizerError as error:
        raise UsageError(f"{error}; for one in a file: --load FILE.py") from None


def _result(card: Card, findings: Iterable[contract.Finding]) -> ContractResult:
    return ContractResult(
        normalizer=card.name,
        source_hash=normzoo.card(parse_call(card.name).name).source_hash,
        environment=environment(),
        findings=tuple(
            Finding(check=one.check, sentence=one.sentence, outcome=one.outcome, message=one.message)
            for one in findings
        ),
    )


def _write(folder: Path, results: Iterable[ContractResult]) -> None:
    try:
        (folder / FOLDER).mkdir(exist_ok=True)
        for result in results:
            write_whole(folder / FOLDER / file_name(result.normalizer), result.to_json())
    except OSError as error:
        raise UsageError(f"cannot write to {folder / FOLDER}: {error.strerror or error}") from None
