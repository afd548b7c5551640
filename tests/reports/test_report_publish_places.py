"""Where a site can go besides a folder: what fsspec writes to, and a branch of a git repository."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from normzoo_reports import publish
from normzoo_reports.publishing import making
from normzoo_suites import Suite, SuiteError

MakeRun = Callable[..., Path]
Tiny = Callable[[int], Suite]
SITE = {"index.html", "leaderboard.html"} | {
    f"one/{name}" for name in ("report.html", "records.parquet", "records.csv", "entry.json")
}


@pytest.fixture(autouse=True)
def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "render", lambda run: f"page of {run.folder.name}, {len(run.records)} records")


@pytest.fixture
def run(make_run: MakeRun, tiny: Tiny) -> Path:
    return make_run(tiny(1), name="one")


def local(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_url_gets_the_same_site_as_a_folder_and_nothing_the_second_time(run: Path, tmp_path: Path) -> None:
    publish([run], tmp_path / "site")
    url = f"memory://{tmp_path.name}/site"
    assert set(publish([run], url).written) == SITE
    system, root = fsspec.url_to_fs(url)
    there = {path.removeprefix(f"{root}/"): system.cat_file(path) for path in system.find(root)}
    assert there == local(tmp_path / "site")
    again = publish([run], url)
    assert (again.written, again.left) == ((), ("one",))


def test_a_url_keeps_what_it_holds(run: Path, make_run: MakeRun, tiny: Tiny, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/site"
    publish([make_run(tiny(2), name="two")], url)
    assert publish([run], url).left == ("two",)
    assert b"two/report.html" in fsspec.url_to_fs(f"{url}/index.html")[0].cat_file(f"/{tmp_path.name}/site/index.html")


def test_a_file_url_is_a_folder_in_which_runs_may_lie(run: Path) -> None:
    assert publish([run], f"file://{run.parent}").reports == ("one",)
    assert (run / "entry.json").is_file()


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("nosuch://x/y", "nosuch.*DEST is a folder, a URL that fsspec knows, or git:BRANCH"),
        ("absent://bucket/site", "install its driver.*DEST is a folder"),
    ],
)
def test_a_protocol_that_is_not_known_or_not_installed_is_told(run: Path, to: str, said: str) -> None:
    fsspec.register_implementation("absent", "no_such_driver.System", clobber=True, errtxt="install its driver")
    with pytest.raises(SuiteError, match=f"cannot publish to {to}: .*{said}"):
        publish([run], to)


def test_a_driver_that_fails_is_told_in_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no credentials")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", fails)
    with pytest.raises(SuiteError, match=r"^cannot publish to memory://nowhere/site: no credentials$"):
        publish([run], "memory://nowhere/site")


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, a changed file, a staged one and one that git does not know."""
    for key in [key for key in os.environ if key.startswith("GIT_")]:
        monkeypatch.delenv(key)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "somebody@example.org")
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    git("init", "-q", "-b", "main")
    (folder / "a.txt").write_text("a")
    git("add", "a.txt")
    git("commit", "-q", "-m", "first")
    (folder / "a.txt").write_text("changed")
    (folder / "b.txt").write_text("staged")
    git("add", "b.txt")
    (folder / "c.txt").write_text("unknown")
    return folder


def listed(branch: str) -> set[str]:
    return set(git("ls-tree", "-r", "--name-only", branch).split())


def test_a_branch_is_made_without_history_and_the_checkout_and_its_index_stay(run: Path, repository: Path) -> None:
    before = (git("status", "--porcelain"), git("rev-parse", "HEAD"), (repository / ".git" / "index").read_bytes())
    told = publish([run], "git:gh-pages")
    assert listed("gh-pages") == SITE | {".nojekyll"}
    assert git("rev-list", "--count", "gh-pages").strip() == "1"
    assert git("show", "gh-pages:one/report.html").startswith("page of one")
    assert (
        git("status", "--porcelain"),
        git("rev-parse", "HEAD"),
        (repository / ".git" / "index").read_bytes(),
    ) == before
    assert told.note.endswith("push it with: git push REMOTE gh-pages")
    assert git("log", "-1", "--format=%s", "gh-pages").strip() == "Publish one"


@pytest.mark.usefixtures("repository")
def test_a_branch_gets_a_commit_only_where_something_changed(run: Path, make_run: MakeRun, tiny: Tiny) -> None:
    publish([run], "git:gh-pages")
    first = git("rev-parse", "gh-pages")
    assert publish([run], "git:gh-pages").note == ""
    assert git("rev-parse", "gh-pages") == first
    publish([make_run(tiny(2), name="two")], "git:gh-pages")
    assert git("rev-parse", "gh-pages^") == first
    assert {"one/report.html", "two/report.html"} <= listed("gh-pages")


@pytest.mark.usefixtures("repository")
def test_a_dry_run_makes_no_branch(run: Path) -> None:
    assert publish([run], "git:gh-pages", dry_run=True).written
    assert "gh-pages" not in git("branch", "--list")


def test_a_branch_keeps_its_other_files_and_a_folder_of_it_can_be_named(run: Path, repository: Path) -> None:
    git("branch", "pages")
    publish([run], "git:pages:docs/reports")
    assert listed("pages") == {"a.txt"} | {f"docs/reports/{path}" for path in SITE}
    assert git("show", "pages:a.txt") == "a"
    assert publish([run], "git:pages:docs/reports/").written == ()


def test_a_branch_that_only_a_remote_has_is_gone_on_with(run: Path, repository: Path) -> None:
    publish([run], "git:gh-pages")
    git("clone", "-q", str(repository), "../clone")
    os.chdir("../clone")
    told = publish([run], "git:gh-pages")
    assert told.written == ()
    git("branch", "-q", "gh-pages", "origin/gh-pages")
    git("update-ref", "-d", "refs/heads/gh-pages")
    (run / "cells").joinpath(sorted(path.name for path in (run / "cells").iterdir())[0]).unlink()
    assert publish([run], "git:gh-pages").note.endswith("git push origin gh-pages")
    assert git("rev-parse", "gh-pages^") == git("rev-parse", "origin/gh-pages")


def test_a_branch_that_is_checked_out_anywhere_is_refused(run: Path, repository: Path) -> None:
    with pytest.raises(
        SuiteError, match=r"git:main: the branch is checked out in .*repository; publish to that folder"
    ):
        publish([run], "git:main")
    git("worktree", "add", "-q", "-b", "pages", "../pages")
    with pytest.raises(SuiteError, match=r"checked out in .*pages"):
        publish([run], "git:pages")


def test_outside_a_repository_and_with_a_wrong_name_one_line_says_so(
    run: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ("git:", "git:a b", "git:-x", "git:a..b"):
        with pytest.raises(SuiteError, match="is no name of a branch; write git:BRANCH"):
            publish([run], wrong)
    with pytest.raises(SuiteError, match="the folder must lie in the branch"):
        publish([run], "git:pages:../x")
    monkeypatch.chdir(repository.parent)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(repository.parent.parent))
    with pytest.raises(SuiteError, match=r"(?s)not a git repository.*change to the folder of the repository first"):
        publish([run], "git:gh-pages")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SuiteError, match="git cannot be run"):
        publish([run], "git:gh-pages")


def test_a_commit_that_was_made_meanwhile_is_not_lost(
    run: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("branch", "pages")

    def meanwhile(_: object) -> str:
        git("update-ref", "refs/heads/pages", git("commit-tree", "-m", "x", "-p", "main", "main^{tree}").strip())
        return "page"

    monkeypatch.setattr(making, "render", meanwhile)
    with pytest.raises(SuiteError, match=r"cannot move pages: .*; publish again"):
        publish([run], "git:pages")
    assert git("log", "-1", "--format=%s", "pages").strip() == "x"


def test_what_git_would_leave_out_in_silence_or_remove_is_refused(run: Path, repository: Path) -> None:
    for wrong in ("git:p:.", "git:p:./x", "git:p:.git/hooks"):
        with pytest.raises(SuiteError, match="the folder must lie in the branch"):
            publish([run], wrong)
    with pytest.raises(SuiteError, match="is no name of a branch"):
        publish([run], "git:HEAD")
    with pytest.raises(SuiteError, match=r"git takes no file git~1/.*rename the run's folder"):
        publish([run.rename(run.with_name("git~1"))], "git:p")
    assert git("branch", "--list", "p", "HEAD") == ""


def test_a_folder_that_is_a_file_in_the_branch_is_refused_and_stays(run: Path, repository: Path) -> None:
    git("branch", "pages")
    with pytest.raises(SuiteError, match=r"a\.txt is a file there"):
        publish([run], "git:pages:a.txt")
    assert listed("pages") == {"a.txt"}


def test_what_somebody_publishes_meanwhile_stands_in_the_index(
    run: Path, make_run: MakeRun, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from normzoo_reports.publishing import site

    other, real = make_run(tiny(2), name="other"), site.make_all

    def slowly(*told: Any) -> Any:
        monkeypatch.setattr(site, "make_all", real)
        publish([other], tmp_path / "site")
        return real(*told)

    monkeypatch.setattr(site, "make_all", slowly)
    publish([run], tmp_path / "site")
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert 'href="other/report.html"' in index
    assert f'href="{run.name}/report.html"' in index
