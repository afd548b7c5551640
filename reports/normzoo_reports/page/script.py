"""The page's script: a few small files, joined, and allowed by their hash alone."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from markupsafe import Markup

_PARTS = ("data", "filter", "sort", "hover", "plot", "curves", "details", "start")


@dataclass(frozen=True)
class Script:
    """What a page executes, and the only source of a content security policy that allows it (CSP 3, section 2.3.1)."""

    text: Markup
    allowed: str


@cache
def script() -> Script:
    """Give the script of a run's page."""
    folder = resources.files("normzoo_reports") / "script"
    parts = [(folder / f"{part}.js").read_text(encoding="utf-8") for part in _PARTS]
    text = '\n"use strict";\n(() => {\n' + "".join(parts) + "})();\n"
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), f"sha256-{digest}")
