"""The leaderboard: only what was measured alike meets, places follow from intervals, strangers' entries do no harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import publish
from normzoo_reports.publishing import making
from normzoo_reports.publishing.entries import Entry, parse
from normzoo_reports.publishing.leaderboard import Section, leaderboard, places
from normzoo_reports.publishing.thumbnail import checked
from normzoo_reports.results import Estimate
from normzoo_suites import Cell, Suite, read_run

MakeRun = Callable[..., Path]
Tiny = Callable[[int], Suite]


def value(mean: float, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate("test_accuracy", mean, low, high, 8, "seed")


def test_a_place_is_one_and_those_whose_interval_lies_beyond() -> None:
    """The first two intervals meet, the third is behind both, and no value is behind all."""
    column = [value(0.9, 0.8, 1.0), value(0.85, 0.75, 0.95), value(0.6, 0.5, 0.7), "crashed"]
    assert places([column], "test_accuracy") == [1, 1, 3, 4]


def test_of_times_the_smaller_are_better() -> None:
    assert places([[value(0.9, 0.8, 1.0), value(0.6, 0.5, 0.7)]], "step_ms_ratio") == [2, 1]


def test_without_an_interval_the_values_decide_and_equal_ones_share() -> None:
    column = [value(0.9), value(0.85, 0.75, 0.95), value(0.85), "crashed", "oom"]
    assert places([column], "test_accuracy") == [1, 2, 2, 4, 4]


def test_over_conditions_places_are_averaged() -> None:
    first, second = [value(0.9), value(0.8)], [value(0.1), value(0.2)]
    assert places([first, second, second], "test_accuracy") == [5 / 3, 4 / 3]


@pytest.fixture(autouse=True)
def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here is about pages or figures, and drawing takes a second for each."""
    monkeypatch.setattr(making, "render", lambda run: "page")


def entry_of(run: Path) -> Entry:
    return making.describe(read_run(run), "", {}, None)


def lines(sections: list[Section]) -> list[list[tuple[str, str]]]:
    return [[(line.normalizer, line.folder) for line in table.lines] for one in sections for table in one.tables]


def test_runs_of_the_same_conditions_meet_in_one_table(make_run: MakeRun, tiny: Tiny) -> None:
    entries = {name: entry_of(make_run(tiny(8), name=name)) for name in ("a", "b")}
    (found,) = leaderboard(entries)
    assert len(found.tables) == 1
    assert {(line.normalizer, line.folder) for line in found.tables[0].lines} == {
        (normalizer, folder) for normalizer in ("batch_norm", "group_norm") for folder in "ab"
    }
    assert found.tables[0].columns == ("ranks 1 (40 each)", "ranks 5 (8 each)", "ranks 20 (2 each)")


def changed(suite: Suite, **fixed: Any) -> Suite:
    grid = suite.grids[0]
    return suite.model_copy(update={"grids": [grid.model_copy(update={"fixed": {**grid.fixed, **fixed}})]})


@pytest.mark.parametrize("what", ["protocol", "dataset", "model", "epochs", "hardware", "suite"])
def test_what_differs_in_anything_that_counts_never_meets(make_run: MakeRun, tiny: Tiny, what: str) -> None:
    suite = tiny(2)
    other = {
        "protocol": suite.model_copy(update={"protocol": 2}),
        "suite": suite.model_copy(update={"name": "other"}),
        "dataset": changed(suite, dataset="cifar10"),
        "model": changed(suite, model="resnet20"),
        "epochs": changed(suite, epochs=2),
    }.get(what, suite)
    first, second = make_run(suite, name="a"), make_run(other, name="b")
    for file in (second / "cells").iterdir() if what == "hardware" else ():
        record = json.loads(file.read_text())
        file.write_text(json.dumps(record | {"environment": record["environment"] | {"cpu": "another"}}))
    found = leaderboard({"a": entry_of(first), "b": entry_of(second)})
    tables = [table for one in found for table in one.tables]
    assert sorted(table.folders for table in tables) == [("a",), ("b",)]


def test_records_of_different_versions_meet_with_a_warning(make_run: MakeRun, tiny: Tiny) -> None:
    runs = [make_run(tiny(2), name=name) for name in ("a", "b")]
    for file in (runs[1] / "cells").iterdir():
        record = json.loads(file.read_text())
        file.write_text(json.dumps(record | {"environment": record["environment"] | {"torch": "2.12.0"}}))
    (found,) = leaderboard({run.name: entry_of(run) for run in runs})
    assert found.tables[0].warnings == ("Its records differ in torch (2.11.0, 2.12.0).",)


def test_a_table_is_full_what_fewer_normalizers_have_stands_apart(make_run: MakeRun, tiny: Tiny) -> None:
    suite = tiny(2)
    grid = suite.grids[0]
    axes = {**grid.axes, "normalizer": ["batch_norm", "layer_norm"], "ranks": [40]}
    found = leaderboard(
        {"a": entry_of(make_run(suite.model_copy(update={"grids": [grid, grid.model_copy(update={"axes": axes})]})))}
    )
    tables = found[0].tables
    assert [(table.conditions, sorted(line.normalizer for line in table.lines)) for table in tables] == [
        (3, ["batch_norm", "group_norm"]),
        (1, ["batch_norm", "layer_norm"]),
    ]


def test_a_cell_without_a_value_says_why_and_takes_the_last_place(make_run: MakeRun, tiny: Tiny) -> None:
    def measure(cell: Cell) -> dict[str, Any]:
        if cell.settings.normalizer == "batch_norm":
            return {"status": "oom", "reason": "too large"}
        return {"metrics": {"test_accuracy": 0.5, "chance_accuracy": 0.1}}

    (found,) = leaderboard({"a": entry_of(make_run(tiny(2), measure))})
    last = found.tables[0].lines[-1]
    assert (last.normalizer, last.place, set(last.values)) == ("batch_norm", "2", {"oom (2)"})


def test_the_control_and_times_without_their_exchange_have_no_place_and_untuned_levels_are_said_to_be(
    quick_page: Path,
) -> None:
    tables = {table.metric: table for one in leaderboard({"a": entry_of(quick_page.parent)}) for table in one.tables}
    timed = {line.normalizer for line in tables["step_ms_ratio"].lines}
    assert timed == {"batch_norm", "layer_norm", "group_norm", "batch_renorm"}
    assert "one common learning rate" in tables["test_accuracy"].notes[0]


def test_those_of_one_place_stand_in_the_order_of_their_values(make_run: MakeRun, tiny: Tiny) -> None:
    """Seeds scatter by 0.1 about 0.50 and 0.51: the intervals meet, and the names' order is the other one."""

    def measure(cell: Cell) -> dict[str, Any]:
        settings = cell.settings.model_dump()
        mean = 0.51 if settings["normalizer"] == "group_norm" else 0.5
        return {"metrics": {"test_accuracy": mean + 0.1 * (-1) ** settings["seed"], "chance_accuracy": 0.1}}

    (found,) = leaderboard({"a": entry_of(make_run(tiny(8), measure))})
    lines = [(line.place, line.normalizer) for line in found.tables[0].lines]
    assert lines == [("1", "group_norm"), ("1", "batch_norm")]


@pytest.fixture
def good(make_run: MakeRun, tiny: Tiny) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(entry_of(make_run(tiny(1), name="good")).to_bytes())
    return told


def test_an_entry_comes_back_as_it_was(good: dict[str, Any]) -> None:
    assert json.loads(parse(json.dumps(good).encode()).to_bytes()) == good


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": 2}, "schema 2, this normzoo reads up to 1; install a newer normzoo"),
        ({"schema": None}, "schema"),
        ({"count": "many"}, "count"),
        ({"more": 1}, "more"),
        ({"suite": "\ud800"}, "surrogates"),
        ({"thumbnail": {"title": "x", "svg": "<svg onload='x'/>"}}, "onload"),
    ],
)
def test_a_broken_entry_is_named_and_left_out_and_the_rest_is_published(
    make_run: MakeRun, tiny: Tiny, tmp_path: Path, good: dict[str, Any], change: dict[str, Any], why: str
) -> None:
    site = tmp_path / "site"
    (site / "bad").mkdir(parents=True)
    (site / "bad" / "entry.json").write_text(json.dumps(good | change))
    told = publish([make_run(tiny(1))], site)
    assert [line for line in told.broken if line.startswith("bad/entry.json: ") and why in line]
    assert "bad/" not in (site / "index.html").read_text(encoding="utf-8")
    assert (site / "run" / "report.html").is_file()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000, b'{"schema": NaN}', b"\xff", b"0" * 5_000_000])
def test_what_is_no_entry_at_all_is_refused_without_a_traceback(content: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse(content)


@pytest.mark.parametrize(
    "svg",
    [
        "<svg><script>x</script></svg>",
        "<svg><g onclick='x'/></svg>",
        "<svg><use href='https://example.org/x#y'/></svg>",
        "<svg><path style='fill: url(https://example.org)'/></svg>",
        "<svg><path style='fill: u\\72l(x)'/></svg>",
        "<svg style='position: fixed; inset: 0'/>",
        "<svg><path clip-path='url(x)'/></svg>",
        "<svg><image href='#x'/></svg>",
        "<svg>words</svg>",
        "<svg><style>*{}</style></svg>",
        "<!DOCTYPE svg [<!ENTITY a 'b'>]><svg/>",
        "<p/>",
        "<svg",
        "<svg xmlns='http://www.w3.org/1999/xhtml'/>",
    ],
)
def test_a_strangers_thumbnail_that_is_no_plain_drawing_is_refused(svg: str) -> None:
    with pytest.raises(ValueError, match="thumbnail"):
        checked(svg, "t1-", "label")


def test_a_thumbnails_ids_and_references_get_the_prefix_and_its_label_is_escaped() -> None:
    svg = "<svg><clipPath id='a'><rect x='1'/></clipPath><path clip-path='url(#a)' d='M 0 0'/><use href='#a'/></svg>"
    made = checked(svg, "t1-", '"<b>')
    assert 'id="t1-a"' in made
    assert 'clip-path="url(#t1-a)"' in made
    assert 'href="#t1-a"' in made
    assert 'aria-label="&quot;&lt;b&gt;"' in made


def test_runs_of_other_data_under_one_name_never_meet(make_run: MakeRun, tiny: Tiny) -> None:
    def of(fingerprint: str) -> Entry:
        told = {"metrics": {"test_accuracy": 0.5, "chance_accuracy": 0.1}, "data_fingerprint": fingerprint}
        return entry_of(make_run(tiny(2), lambda cell: told, name=fingerprint))

    (apart,) = leaderboard({"a": of("aaaa"), "b": of("bbbb")})
    assert [table.folders for table in apart.tables] == [("a",), ("b",)]
