"""A report's first figure, small enough for an index: its marks and lines, without words that nobody could read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from markupsafe import Markup

_TAGS = {"svg", "g", "defs", "clipPath", "path", "use", "rect"}
_ATTRIBUTES = {
    "id", "d", "style", "transform", "clip-path", "href", "x", "y", "width", "height", "viewBox", "role", "aria-label",
    "fill", "stroke", "stroke-width",
}  # fmt: skip
_STYLE = re.compile(r"(\s*(fill|stroke|opacity)[\w-]*\s*:[\w\s.,#()%-]*(;|$))*\s*")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_NUMBER = re.compile(r"-?\d+\.\d+")


def small(svg: str) -> tuple[str, str]:
    """Take the words, the legend and the finer decimals off a figure of a page; give its title and what is left."""
    root = ElementTree.fromstring(svg)
    title = root.attrib.pop("aria-label", "")
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag not in _TAGS or (child.get("id") or "").endswith(_LEGEND):
                parent.remove(child)
    _drop_unseen(root)
    _crop(root)
    used = set(_references(root))
    for element in root.iter():
        for key in set(element.attrib) - _ATTRIBUTES | ({"id"} if element.get("id") not in used else set()):
            element.attrib.pop(key, None)
        for key in ("d", "x", "y", "width", "height", "transform"):
            if key in element.attrib:
                element.set(key, _NUMBER.sub(_shorter, element.attrib[key]))
        element.text = element.tail = None
    return title, ElementTree.tostring(root, encoding="unicode")


_LEGEND = "-legend_1"
"""How the id of a legend's group ends, without whose words its marks say nothing."""


def _shorter(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")


def checked(svg: str, prefix: str, label: str) -> Markup:
    """Give a thumbnail as markup for a page, if it holds nothing but what `small` leaves.

    Args:
        svg: as an entry holds it, which may be a stranger's.
        prefix: what keeps its ids apart from those of others on the page.
        label: what a screen reader says of it.

    Raises:
        ValueError: for an element, an attribute or an address that no thumbnail of ours has.

    """
    if "<!" in svg or "<?" in svg:
        raise ValueError("the thumbnail is no plain drawing")
    try:
        root = ElementTree.fromstring(svg)
    except (ElementTree.ParseError, ValueError):
        raise ValueError("the thumbnail is no plain drawing") from None
    if root.tag != "svg":
        raise ValueError("the thumbnail is no plain drawing")
    for element in root.iter():
        if element.tag not in _TAGS or (element.text or "").strip() or (element.tail or "").strip():
            raise ValueError(f"the thumbnail holds {str(element.tag)[:40]!r} or words, which no thumbnail does")
        for key, value in element.attrib.items():
            element.set(key, _attribute(str(key), value, prefix))
    root.set("role", "img")
    root.set("aria-label", label)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _attribute(key: str, value: str, prefix: str) -> str:
    local = _REFERENCE.sub("", value)
    harmless = {
        "href": value.startswith("#"),
        "style": bool(_STYLE.fullmatch(local)) and "url" not in local.lower(),
        "clip-path": not local,
    }.get(key, key in _ATTRIBUTES and "url" not in local.lower())
    if not harmless:
        raise ValueError(f"the thumbnail has {key[:40]}={value[:40]!r}, which no thumbnail has")
    if key == "id":
        return f"{prefix}{value}"
    return f"#{prefix}{value[1:]}" if key == "href" else _REFERENCE.sub(rf"url(#{prefix}\1)", value)


def _references(root: ElementTree.Element) -> Iterator[str]:
    for element in root.iter():
        for key, value in element.attrib.items():
            yield from _REFERENCE.findall(value)
            if key == "href":
                yield value.removeprefix("#")


def _drop_unseen(element: ElementTree.Element) -> None:
    """Drop what has neither fill nor stroke, and groups of nothing."""
    for child in list(element):
        _drop_unseen(child)
        style = child.get("style", "")
        unseen = child.tag == "path" and "fill: none" in style and "stroke:" not in style
        if unseen or (child.tag in ("g", "defs") and not len(child)):
            element.remove(child)


def _crop(root: ElementTree.Element) -> None:
    """Show the panels alone, without the margins in which words stood; they are where the clipping is."""
    panels = [
        [float(rect.get(key, "0")) for key in ("x", "y", "width", "height")]
        for clip in root.iter("clipPath")
        for rect in clip.iter("rect")
    ]
    if panels:
        left, top = (min(panel[axis] for panel in panels) - _MARGIN for axis in (0, 1))
        right, bottom = (max(panel[axis] + panel[axis + 2] for panel in panels) + _MARGIN for axis in (0, 1))
        root.set("viewBox", f"{left:.0f} {top:.0f} {right - left:.0f} {bottom - top:.0f}")


_MARGIN = 6  # points: half a marker and the ticks
