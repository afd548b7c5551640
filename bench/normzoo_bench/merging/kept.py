"""What no longer counts and is kept all the same: earlier attempts, and those that another one took the place of."""

from __future__ import annotations

from collections.abc import Sequence

from normzoo_bench.merging.attempts import Decided
from normzoo_bench.merging.source import Source


def kept(own: Source | None, sources: Sequence[Source], decided: Decided) -> dict[str, bytes]:
    """Give the files that are to be added to ``cells/older/`` by name, each attempt once, numbered as a run does.

    Args:
        own: the destination, where it holds a run: what it keeps already stays as it is.
        sources: the folders.
        decided: which attempts stand.

    """
    others = [source for source in sources if source is not own]
    found: dict[str, list[bytes]] = {}
    for cell_id in decided.standing:
        if own and f"{cell_id}.json" in own.unreadable:  # half a record may still tell something
            found[cell_id] = [own.content(cell_id)]
    for source in others:
        for cell_id in source.older:
            found.setdefault(cell_id, []).extend(source.older_contents(cell_id))
    for cell_id, attempts in decided.beside.items():
        if attempts:
            found.setdefault(cell_id, []).extend(one.content for one in attempts)
    added = {}
    for cell_id, contents in found.items():
        known = own.older_contents(cell_id) if own else []
        names = {file.name for file in own.older.get(cell_id, ())} if own else set()
        number = len(names)
        for content in dict.fromkeys(contents):
            if content in known:
                continue
            while (name := f"{cell_id}.{number}.json") in names:
                number += 1
            names.add(name)
            added[name] = content
    return added
