"""Normalizers from outside: installed packages by their entry points, or a .py file from anywhere.

An installed package names its module (or class) in the entry-point group ``normzoo.normalizers``; loading it registers.
A file is loaded by ``load("my_norm.py")``.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from normzoo import registry

GROUP = "normzoo.normalizers"
"""The entry-point group of installed plugins."""

PREFIX = "normzoo_plugin_"  # of the module names of loaded files

_loaded: dict[str, tuple[str, list[str]]] = {}  # by module: hash of the source, names it registered


class PluginError(ValueError):
    """A file of normalizers cannot be loaded."""


class PluginWarning(UserWarning):
    """An installed plugin is broken and was left out."""


def load_entry_points() -> list[str]:
    """Load the plugins of all installed packages; give the names that they registered.

    A broken one becomes a ``PluginWarning`` that names it: somebody else's mistake must not stop ``import normzoo``.
    """
    found = []
    for point in metadata.entry_points(group=GROUP):
        try:
            with _registering() as new:
                loaded = point.load()
            if not new() and not _holds_normalizers(loaded):
                raise PluginError("it registers no normalizer")
        except (Exception, SystemExit) as error:
            package = point.dist.name if point.dist else "an unknown package"
            warnings.warn(
                f"the normalizer plugin {point.name!r} ({point.value}) of {package} is broken and left out: "
                f"{type(error).__name__}: {error}",
                PluginWarning,
                stacklevel=2,
            )
        else:
            found += new()
    return found


def load(path: str | Path) -> list[str]:
    """Load a file of normalizers and give the names that it registered.

    The same file is run once, until its text changes. Its module name follows from its path, so that a process which
    loads the same path can unpickle its classes. A file that fails registers nothing.

    Raises:
        PluginError: for a file that is not there or not Python, raises (with the line), or registers nothing.

    """
    try:
        file = Path(path).expanduser().resolve()
        if file.suffix != ".py":
            raise PluginError(f"a normalizer's file ends in .py, got {str(path)!r}")
        if not file.is_file():
            raise PluginError(
                f"there is no file {str(path)!r}; give the path of a .py file, or make one: normzoo new NAME"
            )
        text = file.read_bytes()
    except PluginError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # no right to read it, no such home, a name that none can have
        reason = getattr(error, "strerror", None) or error
        raise PluginError(f"cannot read the file {str(path)!r}: {reason}") from None
    name, text_hash = _module_name(file), hashlib.sha256(text).hexdigest()
    if name in _loaded and _loaded[name][0] == text_hash:
        return list(_loaded[name][1])
    with _registering() as new:
        _execute(name, file)
    names = new()
    if not names:
        raise PluginError(f"{file.name} registers no normalizer; put @normzoo.register(...) above its class")
    _loaded[name] = (text_hash, names)
    return list(names)


def file_of(module: str) -> Path | None:
    """Give the file that ``load`` made this module of, or None for any other module."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file) if file and module.startswith(PREFIX) else None


def _holds_normalizers(loaded: object) -> bool:
    """Tell whether a class, or a module with one, is registered: several entry points may lead to one module."""
    factories = [card.factory for card in registry._cards.values()]
    return any(thing is factory for factory in factories for thing in (loaded, *vars(loaded).values()))


@contextlib.contextmanager
def _registering() -> Iterator[Callable[[], list[str]]]:
    """Give a function that names what was registered since; on an error take back the cards of what failed to import.

    Python forgets a module that fails, but keeps those that it had imported on the way: their cards stay, or nobody
    would register them again.
    """
    before = dict(registry._cards)

    def new() -> list[str]:
        return [name for name, card in registry._cards.items() if before.get(name) is not card]

    try:
        yield new
    except (Exception, SystemExit):
        for name in new():
            factory = registry._cards[name].factory
            if getattr(sys.modules.get(factory.__module__), factory.__name__, None) is not factory:
                del registry._cards[name]
                registry._cards.update({name: before[name]} if name in before else {})
        raise


def _module_name(file: Path) -> str:
    """Name the module by its file and, since files elsewhere may be called the same, by its whole path."""
    stem = re.sub(r"\W", "_", file.stem)
    return f"{PREFIX}{stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"


def _execute(name: str, file: Path) -> None:
    """Run a file as a module of this name, and keep it in sys.modules, where pickle and inspect look for it."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"Python cannot import {file.name}")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise PluginError(
            f"cannot load {file.name}, line {_line(error, file)}: {type(error).__name__}: {_said(error)}"
        ) from error


def _line(error: BaseException, file: Path) -> int | str:
    """Find the last line of the file itself on the way to an error."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno or "?"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return lines[-1] if lines and lines[-1] is not None else "?"


def _said(error: BaseException) -> str:
    """Give an error's first line; a SyntaxError's own text repeats the place."""
    text = (error.msg if isinstance(error, SyntaxError) else str(error)) or "no message"
    return text.partition("\n")[0]
