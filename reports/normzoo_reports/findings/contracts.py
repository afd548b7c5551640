"""What the contract kit found of a run's normalizers, in words: kept, broken, of another source, or never asked."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from normzoo_reports import words
from normzoo_suites import Run
from normzoo_suites.contracts import ContractResult


@dataclass(frozen=True)
class Contract:
    """How a normalizer did in the contract kit.

    Attributes:
        state: ``kept`` and ``broken`` are results; of ``another source`` and ``unchecked`` there is none that counts.
        said: the result in a few words.
        more: what a reader must know besides, sentence by sentence.
        command: what checks it, where there is no result that counts.
        faults: the sentence of each check that it fails, and what is wrong.
        exempt: the sentence of each check that its card is exempt from, and why.
        checks: every check's outcome and sentence, in the kit's order.

    """

    state: Literal["kept", "broken", "another source", "unchecked"]
    said: str
    more: tuple[str, ...] = ()
    command: str = ""
    faults: tuple[tuple[str, str], ...] = ()
    exempt: tuple[tuple[str, str], ...] = ()
    checks: tuple[tuple[str, str], ...] = ()


def contract(run: Run, normalizer: str) -> Contract:
    """Say how a normalizer of the run, as its settings spell it, did in the contract kit."""
    command = f"normzoo check {shlex.quote(normalizer)} --to RUN"
    if normalizer in run.unreadable_contracts:
        return Contract("unchecked", "not checked", (f"{run.unreadable_contracts[normalizer]}.",), command)
    if normalizer not in run.contracts:
        return Contract("unchecked", "not checked", (), command)
    result, sources = run.contracts[normalizer], _sources(run, normalizer)
    if result.source_hash not in sources:
        why = "The result here says nothing of what was measured."
        return Contract("another source", "checked in another version of its source", (why,), command)
    faults = tuple((one.sentence, one.message) for one in result.findings if not one.ok)
    return Contract(
        "broken" if faults else "kept",
        _said(result),
        tuple(filter(None, (_of_some(result, sources), _of_defaults(normalizer, bool(faults)), _with(result)))),
        faults=faults,
        exempt=tuple((one.sentence, one.message) for one in result.findings if one.outcome == "exempt"),
        checks=tuple((one.outcome, one.sentence) for one in result.findings),
    )


def _sources(run: Run, normalizer: str) -> Counter[str]:
    """Count the sources of which the normalizer was when its records were measured."""
    records = (run.records.get(cell.id) for cell in run.cells or run.trials if cell.settings.normalizer == normalizer)
    # of a record that it shares with another normalizer the source is that one's
    own = (record for record in records if record and record.settings.get("normalizer") == normalizer)
    return Counter(record.source_hash for record in own if record.source_hash)


def _said(result: ContractResult) -> str:
    counts = Counter(one.outcome for one in result.findings)
    faults = sum(not one.ok for one in result.findings)
    parts = [f"{counts['passed']} of {words.count(len(result.findings), 'check')} passed"]
    parts += [words.count(faults, "fault")] if faults else []
    parts += [f"{counts['exempt']} exempt"] if counts["exempt"] else []
    return ", ".join(parts)


def _of_some(result: ContractResult, sources: Counter[str]) -> str:
    if len(sources) == 1:
        return ""
    return (
        f"That is the source of {sources[result.source_hash]} of its {words.count(sources.total(), 'record')}; the "
        "others are of another version."
    )


def _of_defaults(normalizer: str, broken: bool) -> str:
    """Say that a card claims what its class does by default: one group alone pools as layer norm does."""
    has_options = normalizer.endswith(")")
    return "Its card speaks of the default options, which these are not." if broken and has_options else ""


def _with(result: ContractResult) -> str:
    versions = [f"{key} {result.environment[key]}" for key in ("normzoo", "torch") if result.environment.get(key)]
    return f"Checked with {words.listed(versions)}." if versions else ""
