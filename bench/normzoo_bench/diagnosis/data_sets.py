"""In a child without network: whether a data set is on this machine, and what is wrong with it, decoded or not.

A set that is large and not decoded yet is opened, and one image of it decoded: decoding all can take hours.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normzoo_bench import data, decode, folders
from normzoo_bench.caches import cache_folder
from normzoo_bench.diagnosis.finding import MB, Finding, size, told
from normzoo_bench.errors import UsageError
from normzoo_bench.known import KNOWN, known_options
from normzoo_suites import parse_call

SMALL = 16 * MB
"""Encoded: what is no larger is decoded whole."""

ANSWERS_S = 5.0  # how long the hub may take to answer


@dataclass(frozen=True)
class Seen:
    """What was found of a data set, and whether a plan can have it without decoding, or fetching, what is large."""

    finding: Finding
    ready: bool = False


def look(kind: data.Kind, text: str, hub: str) -> Seen:
    """Look at one data set of a suite; ``hub`` is where missing ones come from, empty where fetching is forbidden."""
    name = parse_call(text).name
    folder = Path(name).expanduser()
    is_folder = name not in data.EMBEDDED and name not in KNOWN and folder.is_dir()
    try:
        if is_folder:
            known, length = folders.known(folder.resolve(), cache_folder())
            if not known and length > SMALL:
                return _large(text, str(folder.resolve()), length)
        source = data.find(text)
        if kind == "resident" and (source.name in data.EMBEDDED or data.decoded_file(source.name).exists()):
            return _whole(kind, source)
        length = (
            folders.known(Path(source.where), cache_folder())[1] if Path(source.where).is_dir() else _opened(source)
        )
        return _whole(kind, source) if length <= SMALL else _large(text, source.where, length)
    except UsageError as error:
        if isinstance(error.__cause__, OSError) and not is_folder:  # what a library says without network
            return Seen(_missing(text, hub))
        return Seen(Finding("data", "fault", str(error), "correct the data, or choose others with --set dataset="))


def _whole(kind: data.Kind, source: data.Source) -> Seen:
    found = data.load_as(kind, source.name, source.where)
    counts = f"{found.train_size():,} images to train on, {found.test_size():,} to test on"
    return Seen(Finding("data", "good", f"{source.name}: {counts}"), ready=True)


def _opened(source: data.Source) -> int:
    """Open a hub's data set as it was fetched; give its encoded size in bytes."""
    return sum(int(part.data.nbytes) for part in decode.read(source.where, source.options).parts)


def _large(text: str, where: str, length: int) -> Seen:
    picture = next(_pictures(where, dict(known_options(parse_call(text)))), None)
    if picture is None:
        do = "correct the data, or choose others with --set dataset="
        return Seen(Finding("data", "fault", f"{text}: nothing in it is an image", do))
    decode.eight_bits(picture)
    found = f"{text}: {size(length)} that are not decoded yet; its first image can be"
    return Seen(Finding("data", "good", found, "the first plan, or run, reads all of it, once"))


def _pictures(where: str, options: dict[str, Any]) -> Iterator[Any]:
    """Give the first image of every part, as the library reads them without copying the rest."""
    import datasets

    try:
        if any(Path(where, name).exists() for name in ("dataset_dict.json", "state.json")):
            opened = datasets.load_from_disk(where)
        else:
            opened = datasets.load_dataset(where, options.get("config"), streaming=Path(where).is_dir())
        for part in opened.values() if isinstance(opened, dict) else [opened]:
            row = next(iter(part))
            columns = [name for name, kind in (part.features or {}).items() if isinstance(kind, datasets.Image)]
            yield from (row[name] for name in columns if row[name] is not None)
    except Exception as error:  # as many kinds as formats
        raise UsageError(f"cannot read {where}: {decode.reason(error)}") from None


def _missing(text: str, hub: str) -> Finding:
    if not hub:
        do = "fetch it where there is network, and copy it, or unset HF_HUB_OFFLINE"
        return Finding("data", "fault", f"{text} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it", do)
    silent = _silence(hub)
    if silent:
        found = f"{text} is not on this machine, and {hub} does not answer ({silent})"
        return Finding("data", "fault", found, "give this machine network, or copy the data here: --set dataset=FOLDER")
    found = f"{text} is not on this machine; the run fetches it from {hub}, if it is there"
    return Finding("data", "warning", found, "`normzoo plan` fetches it before the run")


def _silence(hub: str) -> str:
    """Say why a hub does not answer; empty where it does, whatever it says."""
    try:
        urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=ANSWERS_S).close()
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return told(reason) if isinstance(reason, Exception) else str(reason)
    return ""
