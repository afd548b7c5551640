"""The page: whole, self-contained, safe, and the same for the same records."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markup import parse

from normzoo_reports import report, summary, words
from normzoo_reports.drawing.figures import show_figure
from normzoo_reports.drawing.style import BUILT_IN, normalizer_look
from normzoo_reports.load import load_frame
from normzoo_suites import Cell, Figure, Suite, SuiteError, change_suite, read_run

BLOCK_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "timm", "normzoo", "normzoo_bench"):
            raise ImportError(name + " is out of bounds for a report")
sys.meta_path.insert(0, Block())
import normzoo_reports
"""


Elsewhere = tuple[subprocess.CompletedProcess[str], Path]


def python(code: str) -> subprocess.CompletedProcess[str]:
    path = ":".join(str(Path(__file__).parents[2] / room) for room in ("suites", "reports"))
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path.split(':')!r}\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_page_asks_nothing_of_the_network(quick_page: Path) -> None:
    page = quick_page
    tags = parse(page)
    assert not {tag for tag, _ in tags.found} & {"link", "img", "iframe", "object", "embed", "base", "form"}
    links = [
        value or "" for _, given in tags.found for key, value in given.items() if key in ("src", "href", "xlink:href")
    ]
    assert all(link.startswith("#") for link in links)
    # what names a kind of markup is no address that anything is fetched from
    known = ("http-equiv", "http://www.w3.org/2000/svg")
    assert "http" not in re.sub("|".join(map(re.escape, known)), "", page.read_text(encoding="utf-8"))
    assert "@import" not in page.read_text(encoding="utf-8")
    policy = next(given["content"] for _, given in tags.found if given.get("http-equiv") == "Content-Security-Policy")
    allowed = policy.removeprefix("default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src ")
    assert re.fullmatch("'sha256-[A-Za-z0-9+/]{43}='", allowed)


def test_the_one_script_is_ours_and_the_policy_names_its_hash(quick_page: Path) -> None:
    page = quick_page.read_text(encoding="utf-8")
    kinds = [given.get("type", "") for tag, given in parse(quick_page).found if tag == "script"]
    assert kinds == ["application/json", ""]
    (text,) = re.findall("<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_every_link_leads_somewhere_and_no_id_stands_twice(quick_page: Path) -> None:
    tags = parse(quick_page).found
    ids = Counter(given["id"] for _, given in tags if "id" in given)
    assert [name for name, number in ids.items() if number > 1] == []
    targets = {(value or "")[1:] for _, given in tags for key, value in given.items() if key == "href"}
    clips = set(re.findall(r"url\(#([^)]+)\)", quick_page.read_text(encoding="utf-8")))
    assert clips
    assert (targets | clips) <= set(ids)


def test_every_cell_can_be_linked_to_and_shows_its_command(quick_page: Path) -> None:
    page = quick_page.read_text(encoding="utf-8")
    for cell in read_run(quick_page.parent).cells:
        assert f'id="cell-{cell.id}"' in page
        assert f"normzoo reproduce runs/quick {cell.same_as or cell.id}" in page


def test_quick_renders_in_seconds_and_stays_small(quick_run: Path) -> None:
    start = time.process_time()  # the machine may be busy with other things
    page = report(quick_run)
    assert time.process_time() - start < 15
    assert page.stat().st_size < 1_500_000
    assert page.read_text(encoding="utf-8").count("<svg") == 6  # four of the suite, accuracy against speed, its profile


@pytest.fixture(scope="module")
def elsewhere(
    quick_page: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The same run, reported by another process, which can import neither torch nor the other rooms."""
    run, out = str(quick_page.parent), tmp_path_factory.mktemp("elsewhere") / "page.html"
    made = f"print(normzoo_reports.report({run!r}, {str(out)!r}))\nnormzoo_reports.summary({run!r})"
    return python(BLOCK_TORCH + made), out


def test_a_report_needs_no_torch_and_no_other_room(elsewhere: Elsewhere) -> None:
    done, page = elsewhere
    assert (done.returncode, done.stdout.strip()) == (0, str(page)), done.stderr


def test_the_same_records_give_the_same_page(elsewhere: Elsewhere, quick_page: Path) -> None:
    assert elsewhere[1].read_bytes() == quick_page.read_bytes()


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = ("pandas", "seaborn", "matplotlib", "scipy", "jinja2", "numpy")
    done = python(f"import normzoo_reports, sys\nprint([name for name in {heavy!r} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_hostile_text_is_shown_and_never_obeyed(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    evil = "<script>alert</script>\"'&$x$"
    suite = change_suite(tiny(6), add_normalizers=[evil])

    def measure(cell: Cell) -> dict[str, Any]:
        told = measured(cell)
        if cell.settings.seed == 1:
            return told | {"status": "crashed", "reason": evil, "metrics": {}}
        return told | {
            "card": {"name": evil, "paper": evil, "pools": [evil], "options": {evil: evil}},
            "environment": {evil: evil},
        }

    tags = parse(report(make_run(suite, measure)))
    assert [tag for tag, _ in tags.found].count("script") == 2  # the page's data, and its own script
    assert tags.text.count(evil) >= 10


def test_every_failed_cells_reason_is_shown(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    statuses = ["skipped", "diverged", "oom", "timeout", "crashed", "error"]

    def measure(cell: Cell) -> dict[str, Any]:
        seed = cell.settings.seed
        if seed >= len(statuses):
            return measured(cell)
        metrics = {"chance_accuracy": 0.1} if statuses[seed] == "diverged" else {}
        return {"status": statuses[seed], "reason": f"reason {seed} of {cell.id}", "metrics": metrics}

    run = make_run(tiny(10), measure)
    text = parse(report(run)).text
    failed = [cell for cell in read_run(run).cells if cell.settings.seed < len(statuses)]
    assert all(f"reason {cell.settings.seed} of {cell.id}" in text for cell in failed)


def test_an_unreadable_record_is_named_with_what_is_wrong(quick_run: Path) -> None:
    file = sorted((quick_run / "cells").iterdir())[0]
    file.write_text("{")
    text = parse(report(quick_run)).text
    assert "1 record cannot be read" in text
    assert f"cannot read the record {file.name}" in text


def test_a_cell_that_shares_an_unreadable_record_is_unreadable_too(quick_run: Path) -> None:
    same = next(cell for cell in read_run(quick_run).cells if cell.same_as)
    (quick_run / "cells" / f"{same.same_as}.json").write_text("{")
    rows = load_frame(read_run(quick_run))
    assert set(rows.index[rows["status"] == "unreadable"]) == {same.id, same.same_as}


def test_records_of_different_environments_are_warned_of(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    def measure(cell: Cell) -> dict[str, Any]:
        return measured(cell) | {"environment": {"os": "Linux", "cores": cell.settings.seed % 2}}

    text = parse(report(make_run(tiny(6), measure))).text
    assert "Records of 2 different environments meet in this run (they differ in cores)" in text
    assert "different versions" not in text


def test_records_of_different_code_are_warned_of(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    def measure(cell: Cell) -> dict[str, Any]:
        return measured(cell) | {"environment": {"os": "Linux", "code": f"hash {cell.settings.seed % 2}"}}

    text = parse(report(make_run(tiny(6), measure))).text
    assert "They were measured by different versions of normzoo's code." in text


def test_a_skipped_cell_is_of_no_environment(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    def measure(cell: Cell) -> dict[str, Any]:
        if cell.settings.seed:
            return measured(cell)
        return {"status": "skipped", "reason": "impossible", "metrics": {}, "environment": {"os": "elsewhere"}}

    text = parse(report(make_run(tiny(6), measure))).text
    assert "different environments" not in text
    assert "elsewhere" not in text


@pytest.mark.parametrize(("accuracy_threads", "warned"), [(lambda seed: 1, False), (lambda seed: 1 + seed % 2, True)])
def test_threads_are_warned_of_only_where_they_are_no_setting(
    make_run: Callable[..., Path], quick: Suite, measured: Callable[[Cell], Any], accuracy_threads: Any, warned: bool
) -> None:
    """A timing has as many threads as its setting says, a training has the worker's, and alone a precision."""

    def measure(cell: Cell) -> dict[str, Any]:
        threads = 4 if cell.measure == "throughput" else accuracy_threads(cell.settings.seed)
        precision = {} if cell.measure == "throughput" else {"precision": "float32"}
        return measured(cell) | {"environment": {"os": "Linux", "threads": threads} | precision}

    suite = change_suite(quick, seeds=2).model_copy(update={"figures": []})
    text = parse(report(make_run(suite, measure))).text
    assert ("they differ in threads" in text) == warned
    assert ("different environments" in text) == warned


def test_an_estimate_names_its_seeds_its_divergences_and_what_it_lacks(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    def measure(cell: Cell) -> dict[str, Any] | None:
        seed = cell.settings.seed
        if seed == 0:
            return {"status": "diverged", "reason": "not finite", "metrics": {"chance_accuracy": 0.1}}
        return None if seed == 1 else {"metrics": {"test_accuracy": 0.9, "chance_accuracy": 0.1}}

    found = summary(make_run(tiny(10), measure)).accuracy
    assert found is not None
    first = found.rows[0][1][0]
    assert not isinstance(first, str)
    assert first.value == pytest.approx((8 * 0.9 + 0.1) / 9)
    assert first.notes == ["9 seeds", "1 diverged, counted as chance", "1 without a value"]


def test_a_cell_that_is_the_same_computation_says_as_which(quick_run: Path) -> None:
    found = summary(quick_run).accuracy
    assert found is not None
    groups = dict(found.rows)["group_norm"]
    assert found.columns[1] == "ranks 5 (8 each)"
    assert not isinstance(groups[1], str)
    assert "same computation as ranks 1 (40 each)" in groups[1].notes
    assert groups[1].text == groups[0].text


def test_options_that_only_one_measure_sets_are_told_for_that_measure(
    make_run: Callable[..., Path], quick: Suite, measured: Callable[[Cell], Any]
) -> None:
    def measure(cell: Cell) -> dict[str, Any]:
        options = {"average": "cumulative"} if cell.measure == "accuracy" else {}
        return measured(cell) | {"card": {"name": cell.settings.normalizer, "options": options}}

    page = report(make_run(change_suite(quick, seeds=1), measure)).read_text(encoding="utf-8")
    assert "<dt>built for accuracy</dt><dd>average=cumulative</dd>" in page


@pytest.mark.parametrize(
    ("figure", "sentence"),
    [
        (Figure(kind="line", x="local_batch", y="test_fame"), "none of its 60 cells has a value of test_fame"),
        (Figure(kind="bar", x="fame", y="test_accuracy"), "no accuracy cell of this run has a fame"),
        (
            Figure(kind="bar", x="ranks", y="test_accuracy", where={"ranks": [7]}),
            "this run has no cell that it asks for",
        ),
        (Figure(kind="point", measure="throughput", x="step_ms_ratio", y="normalizer"), "no throughput cell"),
    ],
)
def test_a_figure_without_data_is_a_sentence(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], figure: Figure, sentence: str
) -> None:
    suite = tiny(10).model_copy(update={"figures": [figure]})
    assert sentence in parse(report(make_run(suite))).text


WHISKER = re.compile(r'<g data-series="[^"]+">\s*<path d="M ([\d.]+) [\d.]+\s+L \1 [\d.]+\s*"')
"""A line of a series, straight up."""


def test_a_figure_that_lumps_settings_together_says_so_and_shows_no_interval(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    suite = change_suite(tiny(6), {"epochs": "1,2"})
    run = read_run(make_run(suite))
    shown = show_figure(suite.figures[0], run, load_frame(run))
    assert shown.caption == "Marks are means over cells that differ in epochs, and so have no interval."
    assert not WHISKER.search(shown.drawing.svg("f1"))
    assert shown.table is not None
    first = shown.table.rows[0][1][0]
    assert not isinstance(first, str)
    assert (first.range, first.notes) == ("", ["12 cells"])


def test_a_figure_over_seeds_shows_their_interval(make_run: Callable[..., Path], tiny: Callable[[int], Suite]) -> None:
    run = read_run(make_run(tiny(6)))
    shown = show_figure(run.suite.figures[0], run, load_frame(run))
    assert shown.caption.startswith("Marks are means over seeds, lines their 95 % intervals")
    assert WHISKER.search(shown.drawing.svg("f1"))


@pytest.mark.parametrize("kind", ["line", "bar", "point"])
def test_a_figure_of_any_kind_draws_seeds_that_agree_to_the_bit(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], kind: Any
) -> None:
    """The mean of six times 0.1 is a bit below 0.1, and no bar may be of negative length."""
    assert sum([0.1] * 6) / 6 < 0.1
    axes = ("test_accuracy", "ranks") if kind == "point" else ("ranks", "test_accuracy")
    figure = Figure(kind=kind, x=axes[0], y=axes[1])
    run = read_run(make_run(tiny(6), lambda cell: {"metrics": {"test_accuracy": 0.1}}))
    assert "<svg" in show_figure(figure, run, load_frame(run)).drawing.svg("f1")


@pytest.mark.parametrize("kind", ["line", "bar", "point"])
def test_a_figure_of_any_kind_draws_cells_that_it_lumps_together(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], kind: Any
) -> None:
    axes = ("test_accuracy", "ranks") if kind == "point" else ("ranks", "test_accuracy")
    figure = Figure(kind=kind, x=axes[0], y=axes[1])
    suite = change_suite(tiny(6), {"epochs": "1,2"}).model_copy(update={"figures": [figure]})
    assert "<svg" in report(make_run(suite)).read_text(encoding="utf-8")


def test_a_figure_finds_a_normalizer_that_its_suite_spells_otherwise(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    figure = Figure(kind="line", x="ranks", y="test_accuracy", where={"normalizer": ["group_norm( groups = 4 )"]})
    suite = change_suite(tiny(6), normalizers=["group_norm(groups=4)"]).model_copy(update={"figures": [figure]})
    assert "<svg" in report(make_run(suite)).read_text(encoding="utf-8")


def test_training_accuracy_is_said_to_be_a_running_one(quick_page: Path) -> None:
    text = parse(quick_page).text
    assert "train_accuracy is the running accuracy of the last epoch" in text
    assert "augmentation" not in text


def test_built_in_normalizers_look_different_and_all_looks_are_fixed() -> None:
    assert len({normalizer_look(name).slot for name in BUILT_IN}) == len(BUILT_IN)
    assert len({normalizer_look(name).marker for name in BUILT_IN}) == len(BUILT_IN)
    code = "from normzoo_reports.drawing.style import normalizer_look; print(normalizer_look('my_norm'))"
    assert python(code).stdout.strip() == str(normalizer_look("my_norm"))
    assert normalizer_look("my_norm").slot >= len(BUILT_IN)


@pytest.mark.parametrize(("looks", "seen"), [([], None), ([6], "6 seeds"), ([6, 8], "6 seeds and at 8 seeds")])
def test_seeds_that_were_added_after_a_look_are_told_of_beside_the_verdicts(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], looks: list[int], seen: str | None
) -> None:
    folder = make_run(tiny(10))
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(content | {"looks": looks}))
    said = f"Seeds were added after a look at {seen}: these p-values belong to a new family." if seen else ""
    assert summary(folder).look == said
    text = parse(report(folder)).text
    assert text.count(said or "new family") == (2 if seen else 0)  # in the headline and with the claims


def test_a_report_goes_where_it_is_told_and_leaves_nothing_else(quick_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    assert report(quick_run, out) == out
    assert [file.name for file in out.parent.iterdir()] == ["page.html"]
    assert not (quick_run / "report.html").exists()


def test_a_folder_that_is_no_run_is_a_suite_error(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="is no run folder"):
        report(tmp_path)


def test_a_run_without_records_is_a_suite_error(make_run: Callable[..., Path], tiny: Callable[[int], Suite]) -> None:
    with pytest.raises(SuiteError, match="has no record to report: nothing is measured yet"):
        report(make_run(tiny(6), lambda cell: None))


@pytest.mark.parametrize("where", [".", "file/page.html"])
def test_a_place_that_cannot_be_written_is_a_suite_error(quick_run: Path, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SuiteError, match="cannot write the report"):
        report(quick_run, tmp_path / where)


@pytest.mark.parametrize(
    ("name", "room", "lines"),
    [
        ("iid", 12, ["iid"]),
        ("dirichlet_by_client(alpha=0.1)", 12, ["dirichlet_", "by_client", "(alpha=0.1)"]),
        ("nuisance(by=sample, shift=2)", 12, ["nuisance", "(by=sample,", "shift=2)"]),
        ("exclusive_classes", 30, ["exclusive_classes"]),
        ("", 12, [""]),
    ],
)
def test_a_long_name_is_broken_where_its_words_end(name, room, lines):
    assert words.broken(name, room) == lines
    assert "".join(words.pieces(name)) == name


def test_the_pages_styles_are_whole() -> None:
    css = (Path(report.__code__.co_filename).parent / "templates" / "page.css").read_text(encoding="utf-8")
    assert css.count("{") == css.count("}") > 50
    assert "<" not in css  # as a merge leaves it: a browser would drop the rule after it and say nothing


def test_a_page_never_takes_the_place_of_a_runs_own_file(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    run = make_run(tiny(1), measured)
    before = (run / "run.json").read_bytes()
    with pytest.raises(SuiteError, match="what is there is no page; name another file"):
        report(run, run / "run.json")
    assert (run / "run.json").read_bytes() == before
    assert report(run, report(run)).name == "report.html"
