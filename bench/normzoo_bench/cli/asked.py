"""What the options of several commands ask, as keywords of the functions that they call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normzoo_bench.commands import Asked


def asked_for(
    settings: list[str] | None,
    normalizers: str | None,
    seeds: int | None,
    repeats: int | None,
    device: str | None,
    load: list[str] | None,
    cell: str | None,
    tune: list[str] | None,
    shard: str | None = None,
) -> Asked:
    """Give what options ask, as the functions of ``normzoo_bench`` take it."""
    return {
        "settings": _pairs("--set", settings),
        "normalizers": normalizers,
        "seeds": seeds,
        "repeats": repeats,
        "device": device,
        "load": load or [],
        "cell": cell,
        "tune": "off" if tune == ["off"] else _pairs("--tune", tune) if tune else None,
        "shard": shard,
    }


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    from normzoo_bench.errors import UsageError

    pairs: dict[str, str] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{option} takes KEY=VALUE{', or off alone' * (option == '--tune')}, got {text!r}")
        if key.strip() in pairs:
            raise UsageError(f"{option} {key.strip()}= stands twice; write {option} {key.strip()}=one,two")
        pairs[key.strip()] = value
    return pairs
