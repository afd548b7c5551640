"""What a page may do with a figure's marks: hide a series, and tell a mark's value under the pointer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from matplotlib.artist import Artist

from normzoo_reports.drawing.style import on_paper
from normzoo_reports.plain import plain


@dataclass(frozen=True)
class Mark:
    """A value in a figure: what it is, in words, and the first of the cells that it stands for."""

    told: str
    cell: str


def tag(artist: Artist, series: str, marks: Sequence[Mark] = ()) -> None:
    """Say what an artist shows: a series, and, in the order of drawing, the marks in it. Paper needs no such words."""
    if not on_paper():
        # matplotlib has one place for words of ours, the element's id; `untag` takes them apart again
        artist.set_gid(json.dumps([series, [[mark.told, mark.cell] for mark in marks]], ensure_ascii=False))


def untag(element: ElementTree.Element) -> None:
    """Turn what `tag` wrote into attributes that a page's script finds, and into titles that any browser shows."""
    told = element.get("id", "")
    if not told.startswith("["):
        return
    del element.attrib["id"]
    series, marks = json.loads(told)
    element.set("data-series", plain(series))
    drawn = list(element.iter("use")) or list(element.iter("path"))
    if len(drawn) == len(marks):  # else some lie outside of the frame, and which is not known
        for one, mark in zip(drawn, marks, strict=True):
            _say(one, *mark)


def _say(element: ElementTree.Element, told: str, cell: str) -> None:
    element.set("data-cell", cell)
    title: Any = ElementTree.SubElement(element, "title")
    title.text = plain(told)
