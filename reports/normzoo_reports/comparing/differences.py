"""What sets two runs apart besides their numbers: machines, versions, code, sources of normalizers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from normzoo_reports import words
from normzoo_reports.comparing.pairing import Paired
from normzoo_reports.comparing.results import Difference
from normzoo_reports.load import MEASURED
from normzoo_suites import Record

_Kind = Literal["machine", "versions", "code", "conditions"]
_KINDS: dict[_Kind, tuple[str, ...]] = {
    "machine": ("cpu", "cores", "gpu", "os"),
    "versions": ("torch", "timm", "numpy", "datasets", "scikit_learn", "python", "cuda", "driver"),
    "code": ("code", "commit", "dirty", "normzoo"),
}
_CHECKOUT = ("commit", "dirty", "normzoo")
"""Where the code came from; where a hash over the code itself is the same, it is the same code."""

_SHORT = 7  # letters of a commit


def differences(paired: Paired) -> tuple[Difference, ...]:
    """Give the facts in which the records of paired cells differ, machines first, with both values.

    The code of a run is the ``code`` of its environment, a hash; the commit it stands at counts only where a record
    has no such hash. The source of a normalizer has a hash of its own, and a plugin's only that one.
    """
    found: Counter[tuple[_Kind, str]] = Counter()
    values: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for first, second in _both(paired):
        for kind, what, in_a, in_b in _facts(first, second):
            of_a, of_b = values.setdefault(what, ({}, {}))
            of_a[in_a], of_b[in_b] = None, None
            found[kind, what] += in_a != in_b
    order = {kind: place for place, kind in enumerate((*_KINDS, "conditions"))}
    made = [
        Difference(what, kind, " or ".join(sorted(values[what][0])), " or ".join(sorted(values[what][1])), number)
        for (kind, what), number in found.items()
        if number
    ]
    return tuple(sorted(made, key=lambda one: order[one.kind]))


def headline(found: Iterable[Difference], identical: bool) -> str:
    """Say in one sentence which comparison this is: of machines, of versions, of code, or of a run with itself."""
    facts = list(found)
    if identical:
        return "The same records on both sides: nothing differs, to the bit."
    kinds = {
        "machine": "two machines",
        "versions": f"other versions of {words.listed([one.what for one in facts if one.kind == 'versions'] or [''])}",
        "code": _code([one.what for one in facts if one.kind == "code"]),
    }
    present = [text for kind, text in kinds.items() if any(one.kind == kind for one in facts)]
    if not present:
        return "The same code, versions and kind of machine, measured twice."
    told = words.listed(present)
    alone = "" if len(present) == 1 else "; which of these a change comes from cannot be told"
    return f"{told[0].upper()}{told[1:]}{alone}."


def warnings(paired: Paired, found: Iterable[Difference]) -> tuple[str, ...]:
    """Say what a reader must beware of: records that do not count, slowed machines, times of two machines."""
    told = []
    for name, run, rows in (("A", paired.a, paired.rows_a), ("B", paired.b, paired.rows_b)):
        if run.unreadable:
            told.append(f"{words.count(len(run.unreadable), 'record')} of {name} cannot be read")
        slowed, timed = int(rows["throttled"].sum()), int((rows["measure"] != "accuracy").sum())
        if slowed:
            verb = "was" if slowed == 1 else "were"
            told.append(f"{slowed:,} of {timed:,} timed cells of {name} {verb} throttled meanwhile")
    times = set(paired.rows_a["measure"]) - {"accuracy", "memory"}
    if times and any(one.kind == "machine" for one in found):
        told.append(
            "times in ms compare the machines; ratios, paired with batch norm in one process, compare the layers"
        )
    return (*told, *_tuned_apart(paired))


def _tuned_apart(paired: Paired) -> Iterator[str]:
    """Say which normalizers were tuned to other values in B: their cells are of other settings, and do not pair."""
    chosen_a, chosen_b = paired.a.choices(), paired.b.choices()
    found: dict[str, None] = {}
    for key in chosen_a.keys() & chosen_b.keys():
        one, other = chosen_a[key].chosen or {}, chosen_b[key].chosen or {}
        for name in one.keys() & other.keys():
            if one[name] != other[name]:
                who = chosen_a[key].cell.settings.normalizer
                found[f"{who} ({name} {words.show_value(one[name])} in A, {words.show_value(other[name])} in B)"] = None
    if found:
        yield f"tuned to other values, so that their cells do not pair: {words.listed(sorted(found))}"


def identical(paired: Paired) -> bool:
    """Tell whether both runs hold the same cells with the same records, whole ones, to the bit."""
    same = not paired.only_a and not paired.only_b and not paired.a.unreadable and not paired.b.unreadable
    return same and paired.a.records == paired.b.records


def _code(facts: list[str]) -> str:
    """Name what of the code is another: all of it, or normalizers' own sources alone."""
    sources = [fact.removeprefix("source of ") for fact in facts if fact.startswith("source of ")]
    named = f", {words.listed(sources)} among it" if sources else ", no normalizer's source among it"
    return f"other code{named}" if len(facts) > len(sources) else f"another source of {words.listed(sources or [''])}"


def _both(paired: Paired) -> Iterator[tuple[Record, Record]]:
    """Give the records of the pairs that were measured on both sides."""
    for one in paired.rows_a.index:
        first, second = paired.a.records.get(one), paired.b.records.get(one)
        if first and second and first.status in MEASURED and second.status in MEASURED:
            yield first, second


def _facts(first: Record, second: Record) -> Iterator[tuple[_Kind, str, str, str]]:
    """Give every fact of a pair of records: its kind, its name, its value in A and in B."""
    one, other = first.environment, second.environment
    hashed = bool(one.get("code") and other.get("code"))
    for key in dict.fromkeys((*one, *other)):
        kind: _Kind = next((kind for kind, keys in _KINDS.items() if key in keys), "conditions")
        if hashed and key in _CHECKOUT:
            kind = "conditions"
        yield kind, key, _text(key, one.get(key)), _text(key, other.get(key))
    if first.id == second.id:  # a record that another cell shares may be of another normalizer
        name = str(first.settings.get("normalizer"))
        yield "code", f"source of {name}", first.source_hash or "unknown", second.source_hash or "unknown"


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "none" if value in (None, "") else str(value)
    return text[:_SHORT] if key == "commit" else text
