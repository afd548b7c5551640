"""Normalizers' cards, as the records hold them, with how each did in the contract kit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from normzoo_reports import words
from normzoo_reports.findings.contracts import Contract, contract
from normzoo_suites import Run


@dataclass(frozen=True)
class Card:
    """What was known of a normalizer when it was measured; ``options`` holds (measure, options as built) pairs."""

    name: str
    facts: tuple[tuple[str, str], ...]
    summary: str
    options: tuple[tuple[str, str], ...]
    contract: Contract


def cards(run: Run) -> list[Card]:
    """Give one card per normalizer, as its records hold it."""
    found: dict[str, dict[str, Any]] = {}
    options: dict[str, dict[str, list[str]]] = {}
    for cell in run.cells:
        record = run.records.get(cell.id)
        # a cell that is the same computation as another shows that one's card, which may be another normalizer's
        if record is None or not record.card or cell.same_as is not None:
            continue
        found.setdefault(cell.settings.normalizer, record.card)
        built = _flat(record.card.get("options", {}))
        seen = options.setdefault(cell.settings.normalizer, {}).setdefault(cell.measure, [])
        if built and built not in seen:
            seen.append(built)
    names = dict.fromkeys(cell.settings.normalizer for cell in run.cells)
    return [_card(name, found.get(name), options.get(name, {}), contract(run, name)) for name in names]


def _card(name: str, card: dict[str, Any] | None, options: dict[str, list[str]], held: Contract) -> Card:
    if card is None:
        return Card(name, (), "No record of its own holds its card.", (), held)
    pools = card.get("pools") or ["nothing"]
    pools = pools if isinstance(pools, list) else [pools]
    said = (
        ("paper", str(card.get("paper", "–"))),
        ("year", str(card.get("year") or "")),
        ("pools over", ", ".join(map(str, pools))),
    )
    facts = tuple(fact for fact in said if fact[1])
    every = [(measure, "; or ".join(built)) for measure, built in options.items() if built]
    # options that hold for one measure only, as the trainer sets them, are said to
    alike = len(every) == len(options) and len({built for _, built in every}) == 1
    built = (("", every[0][1]),) if alike else tuple(every)
    return Card(name, facts, str(card.get("summary", "")), built, held)


def _flat(options: Any) -> str:
    if not isinstance(options, dict):
        return str(options)
    return ", ".join(f"{key}={words.plain_value(value)}" for key, value in options.items())
