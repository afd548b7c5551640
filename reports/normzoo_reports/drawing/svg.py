"""A matplotlib figure as markup that can stand in a page: no namespace, no id twice, colours left to the page."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from normzoo_reports.drawing.marks import untag
from normzoo_reports.drawing.style import of_page
from normzoo_reports.plain import plain

_ON_PAGE = of_page()
_STAND_IN = re.compile("|".join(map(re.escape, _ON_PAGE)))
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def to_svg(figure: Figure, prefix: str, title: str) -> str:
    """Give a figure as an `<svg>` element.

    Args:
        figure: drawn with the colours of `style.py`, under ``svg.fonttype = none`` and a fixed ``svg.hashsalt``.
        prefix: what keeps this figure's ids apart from those of others on the page.
        title: what a screen reader says of it.

    """
    file = io.BytesIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    # XML has no place for what a hostile name may hold
    root = ElementTree.fromstring(plain(file.getvalue().decode()))
    for element in list(root.iter()):
        for child in list(element):
            if child.tag.endswith("metadata"):
                element.remove(child)
        element.tag = element.tag.rpartition("}")[2]
    for element in list(root.iter()):
        untag(element)
        _clean(element, prefix)
    for key in ("version", "width", "height"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", plain(title))
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element, prefix: str) -> None:
    # inline in HTML neither namespaces nor `xlink:` are needed, and the page holds no address at all
    given = list(element.attrib.items())
    element.attrib.clear()
    for key, value in given:
        name = key.rpartition("}")[2]
        if name == "id":
            value = f"{prefix}-{value}"
        elif name == "href":
            value = value.replace("#", f"#{prefix}-", 1)
        if not name.startswith("data-"):  # which are names, and a name may be spelt as a colour is
            value = _STAND_IN.sub(_coloured, _REFERENCE.sub(rf"url(#{prefix}-\1)", value))
        element.set(name, value)


def _coloured(match: re.Match[str]) -> str:
    return _ON_PAGE[match[0]]
