"""The built-in models, by name; each family's file adds its own."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Shape = tuple[int, int, int]
"""Channels, height and width of the images."""

Builder = Callable[[Shape, int], nn.Module]
BUILDERS: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Add a builder under a name; the first line of its docstring is what ``normzoo list`` says of it."""

    def add(builder: Builder) -> Builder:
        BUILDERS[name] = builder
        return builder

    return add
