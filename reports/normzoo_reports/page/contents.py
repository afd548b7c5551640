"""Links to the parts of a page: a list of its sections, and at each heading the address that leads to it."""

from __future__ import annotations

import re

from markupsafe import Markup

_PART = re.compile(r'(<(section|article)\b[^>]*\bid="([^"]+)"[^>]*>\s*)<h([23])>(.*?)</h\4>', re.S)
_SECTION = re.compile(r'<section\b[^>]*\bid="([^"]+)"[^>]*>\s*<h2>(.*?)</h2>', re.S)


def linked(main: str) -> Markup:
    """Give every heading of a section or an article with an id a link to itself."""
    # of a plain string: of markup, the pattern's own tags would be escaped
    return Markup(_PART.sub(r'\1<h\4>\5 <a class="anchor" href="#\3" aria-label="link to this">#</a></h\4>', str(main)))


def contents(main: str) -> list[tuple[str, str]]:
    """Give the sections of a page: id and heading as plain text; figures, whose headings are sentences, together."""
    every = [(name, Markup(title).striptags()) for name, title in _SECTION.findall(str(main))]
    figures = [name for name, _ in every if name.startswith("figure-")]
    told = [(figures[0], "Figures" if len(figures) > 1 else "Figure")] if figures else []
    return told + [(name, title) for name, title in every if name not in figures]
