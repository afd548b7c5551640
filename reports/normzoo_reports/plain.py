"""Text that others wrote, such that it can stand beside ours: every letter is shown, and none is obeyed.

What HTML and XML cannot hold is spelt out, and so are the marks that would turn the direction of all that follows
(Boucher & Anderson 2021, arXiv:2111.00169, call texts with them trojan sources). Letters that are written from right to
left stay as they are; where a sentence of ours goes on after them, they are isolated from it.
"""

from __future__ import annotations

import re
import unicodedata

# controls but tab, line feed and return; embeddings and overrides; half characters; what is no character
_UNSHOWN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
ISOLATES = "\u2066\u2067\u2068\u2069"
"""The marks that keep the direction of what is between them to itself; the last one ends what the others begin."""

LOG_LETTERS = 4500
"""Of what a worker printed, the end that a page has room for."""

_ISOLATES = re.compile(f"[{ISOLATES}]")
_FIRST_STRONG, _END = "\u2068", "\u2069"


def plain(text: str) -> str:
    """Spell out what cannot be shown, or would turn its neighbours: "[U+202E]"."""
    shown = _UNSHOWN.sub(_spelt, text)
    return shown if _is_balanced(shown) else _ISOLATES.sub(_spelt, shown)


def printed(log: str) -> str:
    """Give the end of what a worker printed, each state of a line that it wrote over as a line of its own."""
    # a log of ours is no longer than this; a stranger's is cut before marks are balanced, and not after
    return plain(log[-LOG_LETTERS:].replace("\r\n", "\n").replace("\r", "\n"))


def isolated(text: str) -> str:
    """Keep letters that are written from right to left apart from the sentence of ours that the text is put into."""
    shown = plain(text)
    turned = not shown.isascii() and any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in shown)
    return f"{_FIRST_STRONG}{shown}{_END}" if turned else shown


def _spelt(match: re.Match[str]) -> str:
    return f"[U+{ord(match[0]):04X}]"


def _is_balanced(text: str) -> bool:
    """Tell whether every isolate that a text begins is ended in it, and none besides: it then ends as it began."""
    depth = 0
    for mark in _ISOLATES.findall(text):
        depth += -1 if mark == _END else 1
        if depth < 0:
            return False
    return depth == 0
