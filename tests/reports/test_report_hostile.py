"""Hostile text is shown as text: a page has the elements and attributes that it has of innocent text, and no others."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from normzoo_reports import compare, figures, report
from normzoo_reports.drawing.drawing import Drawing
from normzoo_reports.plain import isolated, plain
from normzoo_suites import Cell, Suite, change_suite
from normzoo_suites.contracts import ContractResult, Finding, file_name

MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)></title></style><svg/onload=x>&lt;]]>{{7*7}}{%"
TURNING = "\u202eturned\u2066 שלום \u0627\u0644"
UNSHOWN = "\x00\x08\x1b[31m\x7f\x85\ufffe\uffff"
EVIL = f"{MARKUP} {TURNING} {UNSHOWN} 😀 $x$ \\n #0a0c00 url(#d1-x)"
PRINTABLE = re.sub(r"[(),=]", "", "".join(letter for letter in EVIL if letter.isprintable()))  # what a name may hold
FOUND = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff\ufffe\uffff]")
FREE = {"wbr", "text", "tspan"}  # where lines of a text break is its own affair


def innocent(text: str) -> str:
    """As many letters, none of which means anything."""
    return re.sub(r"\S", "o", text)


class Parsed(HTMLParser):
    """Every element with its attributes' names, the attributes' values, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.values: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in FREE:
            self.elements[tag, tuple(sorted(key for key, _ in attrs))] += 1
        self.values += [(key, value or "") for key, value in attrs]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def said_by(words: Callable[[str], str]) -> Callable[[Cell], dict[str, Any]]:
    """Measure cells such that every text of their records is made of these words."""
    evil = words(EVIL)

    def measure(cell: Cell) -> dict[str, Any]:
        told: dict[str, Any] = {
            "card": {"paper": evil, "year": evil, "pools": [evil], "summary": evil, "options": {evil: evil}},
            "environment": dict.fromkeys(("cpu", "torch", evil), evil),
            "conditions": {"output_dtype": evil, "norm_dtypes": [evil], "note": evil, "throttled": True},
            "split": {"labels": [[1, 2], [3, 4]], "manifest": evil, "note": evil, "rows": evil},
            "source_hash": "abc",
            "log": evil * 9,
        }  # fmt: skip
        if cell.settings.replicate == 1:
            return told | {"status": "crashed", "reason": evil * 80}
        if cell.measure == "throughput":
            names = ("step_ms", "step_ms_p10", "step_ms_p90", "batch_norm_step_ms", "step_ms_ratio")
            return told | {"metrics": dict.fromkeys([*names, evil], 1.5), "samples": {evil: [1.0]}}
        metrics = {"test_accuracy": 0.5 + 0.001 * cell.settings.replicate, "test_accuracy_batch": 0.5, evil: 0.5}
        return told | {"metrics": metrics | {"chance_accuracy": 0.1}, "series": {evil: [1.0]}}

    return measure


def spoken(suite: Suite, words: Callable[[str], str]) -> Suite:
    """Give the suite with all its free texts made of these words, and with figures that show them."""
    evil, model = words(EVIL), words(EVIL)
    claims = []
    for claim in suite.claims:
        told = claim.published and claim.published.model_copy(update={"on": evil})
        claims.append(claim.model_copy(update={"says": evil, "source": evil, "published": told}))
    grids = [
        grid.model_copy(update={"fixed": grid.fixed | {"model": model}}) if grid.measure == "accuracy" else grid
        for grid in suite.grids
    ]
    first = suite.figures[0]
    shown = [
        first.model_copy(update={"title": evil}),
        first.model_copy(update={"kind": "bar", "x": "model", "facet": "model"}),
        first.model_copy(update={"kind": "point", "x": "test_accuracy", "y": "model", "hue": "model"}),
        first.model_copy(update={"y": evil}),
        first.model_copy(update={"x": evil, "title": evil}),
    ]
    return suite.model_copy(update={"question": evil, "claims": claims, "grids": grids, "figures": shown})


def check_all(folder: Path, words: Callable[[str], str], names: list[str]) -> None:
    evil = words(EVIL)
    (folder / "contracts").mkdir()
    outcomes = ("passed", "failed", "exempt")
    findings = tuple(Finding(check=evil, sentence=evil, outcome=one, message=evil * 9) for one in outcomes)
    for number, name in enumerate(names):
        result = ContractResult(normalizer=name, source_hash="abc", environment={"torch": evil}, findings=findings)
        text = result.to_json() if number else json.dumps({"schema": 1, evil: evil})
        (folder / "contracts" / file_name(name)).write_text(text, encoding="utf-8")


def session(folder: Path, words: Callable[[str], str]) -> Path:
    evil = words(EVIL)
    told = {"implementation": evil, "rival": evil, "ratio": 1.0, "ratio_p10": 1.0, "ratio_p90": 1.0}
    stats = {"median": 1.0, "q1": 1.0, "q3": 1.0, "rounds": 3}
    one = {"name": evil, "group": evil, "stats": stats, "extra_info": told}
    machine = {"cpu": {"brand_raw": evil}, "python_version": evil}
    file = folder / "session.json"
    file.write_text(json.dumps({"machine_info": machine, "datetime": evil, "benchmarks": [one]}), encoding="utf-8")
    return file


def other(measure: Callable[[Cell], dict[str, Any]]) -> Callable[[Cell], dict[str, Any]]:
    """Measure somewhat more, with other versions of everything."""

    def changed(cell: Cell) -> dict[str, Any]:
        told = measure(cell)
        metrics = {name: value * 1.1 for name, value in told.get("metrics", {}).items()}
        environment = {key: f"{value} B" for key, value in told["environment"].items()}
        return told | {"metrics": metrics, "environment": environment, "source_hash": "def"}

    return changed


def compared(run: Path, changed: Path) -> str:
    compare(run, changed, out=changed / "compare.html")
    return (changed / "compare.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, quick: Suite, written: Callable[..., Path]) -> dict[str, str]:
    """The same two runs, told in hostile and in innocent words: the pages by what was run and how it was told."""
    found = {}
    for told, words in (("hostile", lambda text: text), ("innocent", innocent)):
        folder = tmp_path_factory.mktemp(told)
        name = words(PRINTABLE)
        suite = change_suite(
            spoken(change_suite(quick, seeds=3, normalizers=["batch_norm"]), words), add_normalizers=[name]
        )
        run = written(folder, suite, said_by(words), lambda cell: {}, "run")
        for file in (run / "cells").iterdir():
            record = json.loads(file.read_text(encoding="utf-8")) | {"command": words(EVIL)}
            file.write_text(json.dumps(record), encoding="utf-8")
        check_all(run, words, ["batch_norm", name])
        found[f"{told} comparison"] = compared(
            run, written(folder, suite, other(said_by(words)), lambda cell: {}, "other")
        )
        found[told] = report(run, folder / "page.html", [session(folder, words)]).read_text(encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def hostile(pages: dict[str, str]) -> Parsed:
    return Parsed(pages["hostile"])


def test_hostile_text_adds_no_element_and_no_attribute(pages: dict[str, str], hostile: Parsed) -> None:
    assert hostile.elements == Parsed(pages["innocent"]).elements
    assert not {tag for tag, _ in hostile.elements} & {"img", "svg/onload=x", "iframe", "object"}
    assert sum(number for (tag, _), number in hostile.elements.items() if tag == "script") == 2  # ours: data and code


def test_hostile_text_adds_nothing_to_the_page_of_a_comparison_either(pages: dict[str, str]) -> None:
    hostile = Parsed(pages["hostile comparison"])
    assert hostile.elements == Parsed(pages["innocent comparison"]).elements
    assert hostile.text.count(MARKUP) >= 5
    assert FOUND.findall(pages["hostile comparison"]) == []


def test_hostile_text_is_there_as_text(hostile: Parsed) -> None:
    assert hostile.text.count(MARKUP) > 50
    assert hostile.text.count("😀") > 50


def test_a_text_that_is_spelt_as_a_colour_of_ours_stays_as_it_is(hostile: Parsed) -> None:
    """Figures are drawn with stand-ins for colours, which are replaced, but in attributes only."""
    assert "var(--series-0)" not in hostile.text.split("</style>")[-1].replace("var(--series-0);", "")
    assert hostile.text.count("#0a0c00") > 50


def test_the_scripts_data_hold_hostile_text_as_text(pages: dict[str, str]) -> None:
    (held,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', pages["hostile"], re.DOTALL)
    assert "<" not in held
    cells = json.loads(held)["cells"].values()
    assert any(MARKUP in cell.get("reason", "") for cell in cells)
    assert any(MARKUP in log for log in json.loads(held)["logs"])
    assert not any(FOUND.search(text) for text in texts_of(json.loads(held)))


def texts_of(held: object) -> Iterator[str]:
    """Every text of JSON data, keys too."""
    if isinstance(held, str):
        yield held
    for inner in [*held, *held.values()] if isinstance(held, dict) else held if isinstance(held, list) else []:
        yield from texts_of(inner)


def test_attributes_hold_hostile_text_as_their_value(hostile: Parsed) -> None:
    labels = [value for key, value in hostile.values if key == "aria-label"]
    assert any(MARKUP in label for label in labels)
    links = [value for key, value in hostile.values if key in ("href", "src")]
    assert links
    assert all(re.fullmatch(r"#[\w-]+", link) for link in links)
    assert not [value for key, value in hostile.values if key in ("id", "class", "style") and "alert" in value]


def test_nothing_stands_on_the_page_that_html_or_xml_cannot_hold(pages: dict[str, str], hostile: Parsed) -> None:
    assert FOUND.findall(pages["hostile"]) == []
    assert "[U+0000][U+0008][U+001B][31m[U+007F][U+0085][U+FFFE][U+FFFF]" in hostile.text


def test_no_text_turns_what_stands_beside_it(pages: dict[str, str]) -> None:
    """Every isolate that an element's text begins ends within it, and overrides are spelt out."""
    assert "[U+202E]turned[U+2066]" in pages["hostile"]
    for text in re.split(r"<[^>]*>", pages["hostile"]):
        depth = [0]
        for mark in re.findall("[\u2066-\u2069]", text):
            depth.append(depth[-1] + (-1 if mark == "\u2069" else 1))
        assert depth[-1] == 0
        assert min(depth) >= 0


def test_a_long_error_is_below_the_fold_and_whole(pages: dict[str, str]) -> None:
    reason = re.search(r'<div class="reason">(.*?)</div>', pages["hostile"], re.DOTALL)
    assert reason
    beginning, whole = re.fullmatch(
        r'<details class="long"><summary>(.*?)</summary>(.*)</details>', reason[1], re.DOTALL
    ).groups()
    assert whole.count("alert(1)") == 2 * 80
    assert len(Parsed(beginning).text) < 300


def test_a_short_error_is_not_folded(make_run: Callable[..., Path], tiny: Callable[[int], Suite]) -> None:
    page = report(make_run(tiny(6), lambda cell: {"status": "crashed", "reason": "x" * 500})).read_text(
        encoding="utf-8"
    )
    assert f'<div class="reason">{"x" * 500}</div>' in page


def test_a_name_from_right_to_left_is_isolated_from_the_sentence_that_it_is_put_into() -> None:
    assert isolated("שלום") == "\u2068שלום\u2069"
    assert isolated("café 北京 1") == "café 北京 1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc\r\n é 😀 שלום", "a\tb\nc\r\n é 😀 שלום"),
        ("\x00\x1b", "[U+0000][U+001B]"),
        ("\ud800", "[U+D800]"),
        ("\u202eabc\u202c", "[U+202E]abc[U+202C]"),
        ("\u2067abc\u2069", "\u2067abc\u2069"),
        ("\u2067abc", "[U+2067]abc"),
        ("\u2069abc\u2067", "[U+2069]abc[U+2067]"),
        ("\u2066\u2069\u2069\u2066", "[U+2066][U+2069][U+2069][U+2066]"),
    ],
)
def test_what_cannot_be_shown_is_spelt_out_and_all_else_is_kept(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_drawing_of_text_that_xml_cannot_hold_is_markup_all_the_same() -> None:
    def make() -> Figure:
        figure = Figure()
        figure.text(0.5, 0.5, "\x1b[31m\u202e<b>")
        return figure

    markup = Drawing('\x00"<i>', make).svg("d1")
    assert "[U+001B][31m[U+202E]&lt;b&gt;" in markup
    assert 'aria-label="[U+0000]&quot;&lt;i&gt;"' in markup


def test_names_without_end_leave_room_for_the_figure(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    """A figure that names of 3,000 letters leave no room would be warned of, and a warning fails this test."""
    suite = change_suite(tiny(6), normalizers=["batch_norm"], add_normalizers=["x" * 3000])
    run = make_run(suite)
    page = report(run).read_text(encoding="utf-8")
    drawn = page[page.index("<svg") : page.index("</svg>")]
    assert "xxx…xxx" in drawn
    assert all(len(text) < 60 for text in re.findall(r"<text[^>]*>(.*?)</text>", drawn, re.DOTALL))
    assert "x" * 3000 in page


def test_hostile_names_are_drawn_into_files_too(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], tmp_path: Path
) -> None:
    run = make_run(change_suite(tiny(6), normalizers=["batch_norm"], add_normalizers=[PRINTABLE]))
    for kind in ("pdf", "png", "svg"):
        assert figures(run, tmp_path / kind, format=kind)
