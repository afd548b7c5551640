"""A comparison on its page and on the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markup import parse

from normzoo_bench import cli
from normzoo_reports import compare
from normzoo_reports.comparing import page
from normzoo_suites import Cell, Suite

Make = Callable[..., Path]


def worse(measured: Callable[[Cell], dict[str, Any]]) -> Callable[[Cell], dict[str, Any]]:
    """Measure batch norm at ranks 20 five points lower, and lose group norm's last seed at ranks 1."""

    def measure(cell: Cell) -> dict[str, Any]:
        settings, told = cell.settings.model_dump(), measured(cell)
        if (settings["normalizer"], settings["ranks"]) == ("batch_norm", 20):
            told["metrics"] |= {"test_accuracy": told["metrics"]["test_accuracy"] - 0.05}
        if (settings["normalizer"], settings["ranks"], settings["seed"]) == ("group_norm", 1, 7):
            return {"status": "crashed", "reason": "it fell"}
        return told

    return measure


@pytest.fixture
def runs(make_run: Make, tiny: Callable[[int], Suite], measured: Any) -> tuple[Path, Path]:
    return make_run(tiny(8), measured, name="old"), make_run(tiny(8), worse(measured), name="new")


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; give exit code, output and errors."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["normzoo", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    monkeypatch.setenv("COLUMNS", "160")
    return run


# the page


def test_the_page_is_whole_and_asks_nothing_of_the_network(runs: tuple[Path, Path], tmp_path: Path) -> None:
    compare(*runs, ["test_accuracy:-1pp"], tmp_path / "compare.html")
    text = (tmp_path / "compare.html").read_text(encoding="utf-8")
    tags = parse(tmp_path / "compare.html")
    assert not [tag for tag, _ in tags.found if tag in ("script", "link", "img", "iframe")]
    assert "://" not in text
    for said in ("What changed from A to B?", "−5.00 points", "regression", "crashed in B, where A has a value"):
        assert said in tags.text
    assert len([tag for tag, _ in tags.found if tag == "svg"]) == 1  # of two metrics, loss is a lesser one


def test_every_mark_of_a_figure_says_what_it_is(runs: tuple[Path, Path], tmp_path: Path) -> None:
    compare(*runs, out=tmp_path / "compare.html")
    titles = re.findall(r"<title>([^<]*)</title></use>", (tmp_path / "compare.html").read_text(encoding="utf-8"))
    assert "batch_norm, ranks 20 (2 each): −5.00 points [−5.00, −5.00]" in titles
    assert len(titles) == 6


def test_every_link_of_the_page_has_its_target(runs: tuple[Path, Path], tmp_path: Path, make_run: Make) -> None:
    compare(*runs, ["test_accuracy:-1pp", "test_loss:+1"], tmp_path / "compare.html")
    tags = parse(tmp_path / "compare.html")
    links = {str(told["href"])[1:] for tag, told in tags.found if tag == "a"}
    ids = [told["id"] for _, told in tags.found if told.get("id")]
    assert "limit-1" in links
    assert links <= set(ids)
    assert len(ids) == len(set(ids))


def test_the_same_records_give_the_same_page(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        compare(*runs, out=tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_nothing_is_drawn_where_nothing_moved(quick_run: Path, tmp_path: Path) -> None:
    compare(quick_run, quick_run, out=tmp_path / "same.html")
    text = (tmp_path / "same.html").read_text(encoding="utf-8")
    assert "<svg" not in text
    assert "The same records on both sides: nothing differs, to the bit." in text


def test_a_lost_value_alone_is_no_figure(make_run: Make, tiny: Callable[[int], Suite], measured: Any) -> None:
    def losing(cell: Cell) -> dict[str, Any]:
        return {"status": "crashed", "reason": "it fell"} if cell.settings.replicate else measured(cell)

    a, b = make_run(tiny(2), measured, name="a"), make_run(tiny(2), losing, name="b")
    text = page.render(compare(a, b))
    assert "crashed in B, where A has a value" in text
    assert "<svg" not in text


def test_no_path_of_this_machine_stands_on_the_page(runs: tuple[Path, Path], tmp_path: Path) -> None:
    compare(*runs, out=tmp_path / "compare.html")
    text = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "old, suite tiny, protocol 1, 48 of 48 cells have a record" in text


def test_hostile_names_are_shown_as_text(make_run: Make, tiny: Callable[[int], Suite], tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"

    def measure(level: float) -> Callable[[Cell], dict[str, Any]]:
        told = {"source_hash": f"{evil}{level}", "environment": {"torch": f"{evil}{level}", evil: level}}
        return lambda cell: {"metrics": {"test_accuracy": level + cell.settings.replicate / 99}} | told

    grid = tiny(2).grids[0]
    suite = tiny(2).model_copy(
        update={"claims": [], "grids": [grid.model_copy(update={"fixed": grid.fixed | {"model": f"$x${evil}"}})]}
    )
    a, b = make_run(suite, measure(0.5), name="<b>a"), make_run(suite, measure(0.6), name="<b>b")
    compare(a, b, out=tmp_path / "compare.html")
    tags = parse(tmp_path / "compare.html")
    assert not [tag for tag, _ in tags.found if tag in ("script", "b") and "alert" in str(_)]
    assert not [tag for tag, _ in tags.found if tag == "script"]
    assert evil in tags.text
    assert "<b>a, suite tiny" in tags.text


def test_long_tables_are_cut_and_say_so(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "LISTED", 1)
    compare(*runs, out=tmp_path / "compare.html")
    text = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "more, for which there is no room here" in text
    rows = [table.count("<tr>") for table in text[text.index('id="test_accuracy"') :].split("<table>")[1:]]
    assert set(rows) == {2}  # of the two that changed, and of the others, one below the heads


# the command line


def test_a_regression_ends_with_3_and_is_told_last(runs: tuple[Path, Path], run_cli: Any) -> None:
    code, out, _ = run_cli("compare", *runs, "--fail-on", "test_accuracy:-1pp", "--fail-on", "test_loss:+1")
    assert code == 3
    told = out[out.index("--fail-on test_accuracy") :]
    assert told.startswith("--fail-on test_accuracy:-1pp: regression in 2 of 6 comparisons")
    assert "batch_norm, ranks 20 (2 each): −5.00 points [−5.00, −5.00], 8 pairs" in told
    assert "group_norm, ranks 1 (40 each): crashed in B, where A has a value" in told
    assert "--fail-on test_loss:+1: regression" in told  # the crashed cell has no loss either


def test_without_a_regression_it_ends_with_0(runs: tuple[Path, Path], run_cli: Any) -> None:
    a, _ = runs
    assert run_cli("compare", *runs)[0] == 0
    code, out, _ = run_cli("compare", a, a, "--fail-on", "test_accuracy:-0pp")
    assert code == 0
    assert "Nothing changed." in out
    assert "--fail-on test_accuracy:-0pp: no regression in 6 comparisons" in out


def test_only_what_changed_is_listed_unless_all_is_asked_for(runs: tuple[Path, Path], run_cli: Any) -> None:
    _, short, _ = run_cli("compare", *runs)
    assert len(re.findall(r"^\w+ .* norm|_norm, ranks", short, re.M)) == 2
    assert "not listed: 6 the same to the bit" in short
    _, long, _ = run_cli("compare", *runs, "--all")
    assert "batch_norm, ranks 5 (8 each)" in long
    assert long.count("the same to the bit") > 4


def test_json_is_all_that_is_printed(runs: tuple[Path, Path], run_cli: Any, tmp_path: Path) -> None:
    code, out, _ = run_cli(
        "compare", *runs, "--json", "--fail-on", "test_accuracy:-1pp", "-o", tmp_path / "compare.html"
    )
    told = json.loads(out)
    assert (code, told["regression"], told["pairs"]) == (3, True, 48)
    assert (tmp_path / "compare.html").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "is no run folder"),
        (["--fail-on", "step:+5%"], "unknown metric 'step'; did you mean 'step_ms'?"),
        (["--fail-on", "step_ms:+5%"], "has a value of step_ms in A; it has test_accuracy"),
        (["-o", "."], "it is a folder; name a file"),
    ],
)
def test_a_mistake_ends_with_2_and_one_message(
    runs: tuple[Path, Path], run_cli: Any, words: list[str], message: str
) -> None:
    a, b = runs
    code, out, err = run_cli("compare", a, *(words if words[0] == "nowhere" else [b, *words]))
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_comparing_imports_neither_torch_nor_what_draws(runs: tuple[Path, Path]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "normzoo_bench.cli", "compare", *map(str, runs)]
    rooms = [str(Path(__file__).parents[2] / room) for room in ("", "bench", "suites", "reports")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": ":".join(rooms)}, check=True)
    seen = set(re.findall(r"\|\s+(\w+)", done.stderr))
    assert "pandas" in seen, "the list of imports is not where it was"
    assert not seen & {"torch", "timm", "matplotlib", "seaborn"}
