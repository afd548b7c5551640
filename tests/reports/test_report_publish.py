"""A site of reports: what it holds, that it grows without losing anything, and whom it refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from normzoo_reports import Published, publish
from normzoo_reports.publishing import making
from normzoo_suites import Cell, Suite, SuiteError

MakeRun = Callable[..., Path]
Tiny = Callable[[int], Suite]
REPORT = ("report.html", "records.parquet", "records.csv", "entry.json")


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a word, for tests that are not about pages: drawing takes a second for each."""
    monkeypatch.setattr(making, "render", lambda run: f"page of {run.folder.name}, {len(run.records)} records")


@pytest.fixture
def run(make_run: MakeRun, tiny: Tiny) -> Path:
    return make_run(tiny(2), name="one")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, quick_page: Path, tuned_page: Path) -> Path:
    """A site of two whole runs; made once, only to be read."""
    to = tmp_path_factory.mktemp("site")
    publish([quick_page.parent, tuned_page.parent], to, jobs=1)
    return to


class Links(HTMLParser):
    """Collects what a page links to, its ids, and what could run or load."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.append(tag)
        self.links += [told["href"] or ""] if tag == "a" else []
        self.ids += [told["id"] or ""] if "id" in told else []
        assert not [key for key in told if key.startswith("on") or key == "src"]


def test_a_site_has_an_index_a_leaderboard_and_four_files_for_each_report(site: Path) -> None:
    reports = {f"{name}/{file}" for name in ("quick", "tuned") for file in REPORT}
    assert set(files(site)) == {"index.html", "leaderboard.html", *reports}


def test_the_page_of_a_site_is_the_report_to_the_byte(site: Path, quick_page: Path) -> None:
    assert (site / "quick" / "report.html").read_bytes() == quick_page.read_bytes()


@pytest.mark.parametrize("page", ["index.html", "leaderboard.html"])
def test_every_link_of_the_sites_own_pages_leads_somewhere_in_it(site: Path, page: str) -> None:
    found = Links(site / page)
    assert found.links
    assert all((site / link).is_file() for link in found.links)
    assert len(set(found.ids)) == len(found.ids)
    assert not {"script", "link", "img", "iframe"} & set(found.tags)


def test_the_index_tells_question_verdicts_normalizers_data_and_hardware_of_each_report(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    entry = json.loads((site / "quick" / "entry.json").read_text())
    told = [entry["question"], *entry["normalizers"], *entry["datasets"], "some processor", f"{entry['count']} records"]
    assert all(text in page for text in told)
    supported = sum(finding["outcome"] == "supported" for finding in entry["findings"])
    assert f'<span class="chip supported">{supported} supported</span>' in page


def test_each_report_has_its_first_figure_with_a_text_in_its_place(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    labels = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)"', page)
    assert len(labels) == 2
    assert "<text" not in page


def test_a_run_without_a_figure_shows_its_verdicts_in_its_place(make_run: MakeRun, tiny: Tiny, tmp_path: Path) -> None:
    suite = tiny(2).model_copy(update={"figures": []})
    publish([make_run(suite)], tmp_path / "site")
    thumbnail = (tmp_path / "site" / "index.html").read_text(encoding="utf-8").partition('class="thumbnail"')[2]
    assert "Two samples hurt batch norm." in thumbnail.partition("<h3>")[0]
    assert "<svg" not in thumbnail


@pytest.mark.usefixtures("plainly")
def test_publishing_again_writes_nothing(run: Path, tmp_path: Path) -> None:
    first = publish([run], tmp_path / "site")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "site").rglob("*")}
    again = publish([run], tmp_path / "site")
    assert len(first.written) == 6
    assert (again.written, again.left) == ((), ("one",))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "site").rglob("*")} == before


@pytest.mark.usefixtures("plainly")
def test_what_is_up_to_date_is_not_rendered_again(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish([run], tmp_path / "site")
    monkeypatch.setattr(making, "render", lambda run: pytest.fail("rendered again"))
    publish([run], tmp_path / "site")


@pytest.mark.usefixtures("plainly")
def test_a_report_is_made_again_when_the_code_or_a_file_of_it_is_another(run: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    publish([run], site)
    entry = site / "one" / "entry.json"
    entry.write_text(entry.read_text().replace(json.loads(entry.read_text())["code"], "older"))
    assert publish([run], site).reports == ("one",)
    (site / "one" / "records.csv").unlink()
    assert publish([run], site).reports == ("one",)
    assert publish([run], site).reports == ()


@pytest.mark.usefixtures("plainly")
def test_adding_a_run_leaves_what_is_there_and_the_order_does_not_matter(
    run: Path, make_run: MakeRun, tiny: Tiny, tmp_path: Path
) -> None:
    other = make_run(tiny(1), name="two")
    publish([run], tmp_path / "a")
    before = files(tmp_path / "a" / "one")
    assert publish([other], tmp_path / "a").left == ("one",)
    assert files(tmp_path / "a" / "one") == before
    publish([other, run], tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert Links(tmp_path / "a" / "index.html").links.count("one/report.html") == 1


@pytest.mark.usefixtures("plainly")
def test_a_run_that_grew_takes_the_place_of_its_own_report(make_run: MakeRun, tiny: Tiny, tmp_path: Path) -> None:
    whole = make_run(tiny(2), name="one")
    part = tmp_path / "part" / "one"
    shutil.copytree(whole, part)
    first, *_ = sorted((part / "cells").iterdir())
    first.unlink()
    site = tmp_path / "site"
    publish([part], site)
    assert publish([whole], site).reports == ("one",)
    count = len(list((whole / "cells").iterdir()))
    assert (site / "one" / "report.html").read_text() == f"page of one, {count} records"


@pytest.mark.usefixtures("plainly")
def test_another_run_of_the_same_name_is_refused_and_changes_nothing(
    run: Path, make_run: MakeRun, tiny: Tiny, tmp_path: Path
) -> None:
    def slower(cell: Cell) -> dict[str, object]:
        return {"metrics": {"test_accuracy": 0.5, "chance_accuracy": 0.1}, "seconds": 7.5}

    other = make_run(tiny(2), slower, name="elsewhere/one")
    publish([run], tmp_path / "site")
    before = files(tmp_path / "site")
    with pytest.raises(SuiteError, match=r"holds another run as one .*rename this run's folder"):
        publish([other], tmp_path / "site")
    with pytest.raises(SuiteError, match="would both be published as one; rename one of the folders"):
        publish([run, other], tmp_path / "new")
    assert files(tmp_path / "site") == before
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("plainly")
def test_a_run_in_the_destination_is_published_in_its_own_folder(run: Path, tmp_path: Path) -> None:
    before = files(run)
    done = publish([run, run.parent / "one"], run.parent)
    assert done.reports == ("one",)
    after = files(run)
    assert set(after) - set(before) == set(REPORT)
    assert {name: after[name] for name in before} == before
    assert (run.parent / "index.html").is_file()
    assert publish([run], run.parent).written == ()


@pytest.mark.usefixtures("plainly")
def test_a_dry_run_writes_nothing_and_names_what_would_be_written(run: Path, tmp_path: Path) -> None:
    told = publish([run], tmp_path / "site", dry_run=True)
    assert not (tmp_path / "site").exists()
    assert "one/report.html: would be written" in told.lines
    assert publish([run], tmp_path / "site").written == told.written
    assert publish([run], tmp_path / "site", dry_run=True).written == ()


@pytest.mark.usefixtures("plainly")
def test_without_runs_the_index_is_made_of_what_is_left(
    run: Path, make_run: MakeRun, tiny: Tiny, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    publish([run, make_run(tiny(1), name="two")], site)
    shutil.rmtree(site / "two")
    assert publish([], site).written == ("leaderboard.html", "index.html")
    assert "two" not in (site / "index.html").read_text()


@pytest.mark.usefixtures("plainly")
def test_files_among_the_runs_are_skipped_by_name_and_folders_that_are_no_runs_refused(
    run: Path, tmp_path: Path
) -> None:
    note = tmp_path / "README.md"
    note.write_text("no run")
    told: Published = publish([note, run], tmp_path / "site")
    assert f"{note}: skipped, it is a file and no run folder" in told.lines
    (tmp_path / "empty").mkdir()
    for wrong in ("empty", "nowhere"):
        with pytest.raises(SuiteError, match=f"{wrong} is no run folder"):
            publish([run, tmp_path / wrong], tmp_path / "new")
    with pytest.raises(SuiteError, match="name at least one run folder"):
        publish([note], tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("plainly")
def test_what_somebody_else_wrote_in_the_destination_is_never_written_over(run: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(SuiteError, match=r"a page index\.html that normzoo did not write"):
        publish([run], tmp_path)
    theirs = tmp_path / "theirs" / "one"
    theirs.mkdir(parents=True)
    (theirs / "report.html").write_text("mine")
    (theirs / "notes.txt").write_text("mine")
    with pytest.raises(SuiteError, match=r"a folder one with notes\.txt, which is no published report"):
        publish([run], tmp_path / "theirs")
    (tmp_path / "file").write_text("")
    with pytest.raises(SuiteError, match="it is a file; name a folder"):
        publish([run], tmp_path / "file")
    with pytest.raises(SuiteError, match=r"cannot write .*file/site/one/report\.html: Not a directory"):
        publish([run], tmp_path / "file" / "site")
    with pytest.raises(SuiteError, match="to itself; name the folder that it lies in"):
        publish([run], run)


@pytest.mark.usefixtures("plainly")
def test_what_was_cut_off_in_the_middle_is_written_whole_the_next_time(run: Path, tmp_path: Path) -> None:
    """As if the power failed before the entry was written: there is a page, but the site does not count it."""
    (tmp_path / "site" / "one").mkdir(parents=True)
    (tmp_path / "site" / "one" / "report.html").write_text("half")
    publish([run], tmp_path / "site")
    assert (tmp_path / "site" / "one" / "report.html").read_text().startswith("page of one")


@pytest.mark.slow
def test_a_pool_makes_the_same_bytes_as_one_process(run: Path, make_run: MakeRun, tiny: Tiny, tmp_path: Path) -> None:
    runs = [run, *(make_run(tiny(1), name=name) for name in ("two", "three"))]
    publish(runs, tmp_path / "a", jobs=2)
    publish(runs, tmp_path / "b", jobs=1)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_hostile_names_are_text_on_the_sites_pages(make_run: MakeRun, tiny: Tiny, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    suite = tiny(1).model_copy(update={"question": evil})
    run = make_run(suite, name='a "b" & <i>#?%')
    file = sorted((run / "cells").iterdir())[0]
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"environment": {"cpu": evil, "torch": evil}}))
    publish([run], tmp_path / "site", jobs=1)
    for page in ("index.html", "leaderboard.html"):
        assert evil not in (tmp_path / "site" / page).read_text(encoding="utf-8")
        links = Links(tmp_path / "site" / page).links
        assert not {"script", "i"} & set(Links(tmp_path / "site" / page).tags)
        assert any("%3C" in link for link in links)


def test_cells_that_share_a_record_count_as_one(site: Path) -> None:
    entry = json.loads((site / "quick" / "entry.json").read_text())
    assert entry["count"] == sum(entry["statuses"].values())
