"""HTML of one file that asks nothing of the network: templates, the words that they use, and how a page is written."""

from __future__ import annotations

import itertools
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from normzoo_reports import words
from normzoo_reports.drawing import style
from normzoo_reports.drawing.drawing import Drawing
from normzoo_reports.files import replace
from normzoo_reports.plain import ISOLATES, plain
from normzoo_suites import SuiteError


def fill(template: str, context: dict[str, Any]) -> str:
    """Give the page that a file under `templates/` makes of these values; every page extends `base.html.j2`."""
    return _environment().get_template(template).render({"script": None} | context | {"drawings": itertools.count(1)})


def _is_page(file: Path) -> bool:
    """Whether a file may give way to a page: a run's own files and devices may not."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        beginning = opened.read(15)
    return not beginning or beginning.lower() == b"<!doctype html>"


def write(page: str, out: Path) -> Path:
    """Write a page beside its place and rename it, so that nobody ever reads half of one.

    Raises:
        SuiteError: when it cannot be written there.

    """
    if out.exists() and not out.is_dir() and not _is_page(out):
        raise SuiteError(f"cannot write the report to {out}: what is there is no page; name another file")
    if out.is_dir():
        raise SuiteError(
            f"cannot write the report to {out}: it is a folder; name a file, such as {out / 'report.html'}"
        )
    try:
        return replace(page.encode(), out)
    except OSError as error:
        raise SuiteError(f"cannot write the report to {out}: {error.strerror or error}; name another file") from None


@cache  # compiling the templates takes longer than filling most of them
def _environment() -> jinja2.Environment:
    folder = resources.files("normzoo_reports") / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        drawn=_drawn, swatch=_swatch, count=words.count, breakable=_breakable, beginning=_beginning
    )
    environment.globals.update(
        label=words.label,
        status_words=words.STATUS,
        grades=words.GRADES,
        light=style.variables(style.LIGHT),
        dark=style.variables(style.DARK),
    )
    return environment


@jinja2.pass_context
def _drawn(context: jinja2.runtime.Context, drawing: Drawing) -> Markup:
    """Draw with ids of its own. Not escaped again: it is our own markup, with texts escaped by the XML writer."""
    return Markup(drawing.svg(f"d{next(context['drawings'])}"))


def _shown(value: object) -> object:
    """Make what a template puts in such that a page can hold it; markup is our own, and made of such."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _swatch(normalizer: str) -> str:
    return f"var(--series-{style.normalizer_look(normalizer).slot})"


def _beginning(text: str) -> str:
    """Give the first letters of a long text, without marks whose ends are cut off."""
    return "".join(letter for letter in text[:200] if letter not in ISOLATES)


def _breakable(name: str) -> Markup:
    """Let a long name be broken where its words end."""
    return Markup("<wbr>").join(words.pieces(plain(name)))
