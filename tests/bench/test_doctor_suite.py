"""`normzoo doctor SUITE`: its data sets, its plan, and its folder; mistakes in what was asked are no findings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from pets import parquet_folder, part_of
from PIL import Image
from typer.testing import CliRunner

import normzoo_bench
from normzoo_bench import cli, commands, data, folders
from normzoo_bench.diagnosis import data_sets, packages, planned, suite
from normzoo_bench.diagnosis.children import Answers
from normzoo_bench.diagnosis.finding import Finding
from normzoo_bench.errors import UsageError
from normzoo_bench.request import Request
from normzoo_bench.running.store import Store

SMALL = {"seeds": 1, "normalizers": "batch_norm,sync_batch_norm"}


@pytest.fixture
def no_imports(monkeypatch):
    """Without the imports, which take seconds; torch is said to be there."""
    monkeypatch.setattr(packages, "TRIED", ())
    monkeypatch.setattr(packages, "_try", lambda said: said.update(torch={"name": "torch", "error": ""}))


def answers(asked, tmp_path, hub=""):
    """Ask here what is asked of a child."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    own = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "" if hub else "1"}
    found = list(planned.answers(suite._told(asked, tmp_path / "run", str(scratch), own)))
    findings = [Finding(**one["finding"]) for one in found if "finding" in one]
    return findings, [one["usage"] for one in found if "usage" in one]


def request(name, **asked):
    return suite.wanted(commands._request(name, asked))


@pytest.fixture
def caches(own_caches, monkeypatch):
    """Own caches, and both restored after what a child would have changed of its own process."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", datasets.config.HF_DATASETS_CACHE)
    monkeypatch.setenv("NORMZOO_CACHE", str(data.cache_folder()))
    return data.cache_folder(), Path(datasets.config.HF_DATASETS_CACHE)


def pets(tmp_path):
    images = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in range(0, 200, 2)]
    return parquet_folder(tmp_path, train=part_of(images, [0, 1] * 50))


def left_in(*places):
    return [file for place in places for file in place.rglob("*")]


def test_a_suite_that_can_run_is_told_with_its_data_and_its_cells(tiny, tmp_path, caches):
    found, usage = answers(request(tiny), tmp_path)
    assert ([one.level for one in found], usage) == (["good", "good"], [])
    assert found[0].found == "digits: 1,437 images to train on, 360 to test on"
    assert found[1].found == "tiny: 11 cells to measure, 0 skipped, 2 the same as another"


def test_cells_that_would_be_skipped_are_told_with_their_reason(tiny, tmp_path, caches):
    asked = request(tiny, settings={"shape": "8x1x1", "batch_size": "1", "ranks": "1"}, normalizers="batch_norm")
    found, _ = answers(asked, tmp_path)
    told = [one.found for one in found if "skipped ×" in one.found]
    assert told
    assert all(line.startswith("skipped ×") and ": batch_norm: " in line for line in told)
    assert [one.found for one in found if one.level == "fault"] == ["tiny: nothing of it can be measured here"]


def test_a_small_folder_is_decoded_and_planned_and_nothing_is_left_behind(tiny, tmp_path, caches):
    folder = pets(tmp_path)
    before = left_in(*caches, folder)
    found, _ = answers(request(tiny, settings={"dataset": str(folder), "train_samples": "all"}), tmp_path)
    assert [one.level for one in found] == ["good", "good"]
    assert "80 images to train on, 20 to test on" in found[0].found
    assert left_in(*caches, folder) == before


def test_a_large_folder_that_is_not_decoded_is_opened_and_not_decoded(tiny, tmp_path, caches, monkeypatch):
    monkeypatch.setattr(data_sets, "SMALL", 10)
    monkeypatch.setattr(data, "load", lambda *_: pytest.fail("it was decoded"))
    folder = pets(tmp_path)
    found, _ = answers(request(tiny, settings={"dataset": str(folder)}), tmp_path)
    assert "not decoded yet; its first image can be" in found[0].found
    assert [one.level for one in found] == ["good", "warning"]
    assert "was not planned" in found[1].found


def test_a_large_folder_that_was_decoded_before_is_planned(tiny, tmp_path, caches, monkeypatch):
    monkeypatch.setattr(folders, "_SETTLED_NS", -(10**18))
    folder = pets(tmp_path)
    source = data.find(str(folder))
    data.load(source.name, source.where)
    monkeypatch.setattr(data_sets, "SMALL", 10)
    asked = request(tiny, settings={"dataset": str(folder), "train_samples": "all"})
    assert [one.level for one in answers(asked, tmp_path)[0]] == ["good", "good"]


@pytest.mark.parametrize("limit", [10, 10**9])
def test_images_that_are_damaged_are_a_fault_in_small_and_in_large_data(tiny, tmp_path, caches, monkeypatch, limit):
    monkeypatch.setattr(data_sets, "SMALL", limit)
    folder = tmp_path / "damaged"
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        (folder / label / "a.png").write_bytes(b"\x89PNG but no picture")
    found, _ = answers(request(tiny, settings={"dataset": str(folder)}), tmp_path)
    assert (found[0].check, found[0].level) == ("data", "fault")
    assert "UnidentifiedImageError" in found[0].found


def test_a_data_set_that_does_not_exist_is_a_fault_that_says_what_there_is(tiny, tmp_path, caches):
    found, _ = answers(request(tiny, settings={"dataset": "/nowhere/data"}), tmp_path)
    assert (found[0].level, "nor a folder here" in found[0].found) == ("fault", True)


@pytest.mark.parametrize(
    ("hub", "level", "words"),
    [
        ("", "fault", "HF_HUB_OFFLINE forbids"),
        ("http://127.0.0.1:9", "fault", "does not answer"),
        ("up", "warning", "the run fetches it"),
    ],
)
def test_data_of_the_hub_that_is_not_here_is_a_fault_where_it_cannot_be_fetched(
    tiny, tmp_path, caches, monkeypatch, hub, level, words
):
    def absent(where, options):
        raise UsageError(f"cannot load the data set {where!r}") from ConnectionError("offline")

    monkeypatch.setattr(data_sets.decode, "read", absent)
    if hub == "up":
        monkeypatch.setattr(data_sets, "_silence", lambda _: "")
    found, _ = answers(request(tiny, settings={"dataset": "cifar10"}), tmp_path, hub)
    assert (found[0].level, words in found[0].found) == (level, True)
    assert "cifar10 is not on this machine" in found[0].found


def test_what_is_opened_of_the_hub_is_only_looked_into_where_it_is_large(tiny, tmp_path, caches, monkeypatch):
    folder = pets(tmp_path)
    read = data_sets.decode.read
    monkeypatch.setattr(data_sets.decode, "read", lambda where, options: read(str(folder), {}))
    pictures = data_sets._pictures
    monkeypatch.setattr(data_sets, "_pictures", lambda where, options: pictures(str(folder), {}))
    monkeypatch.setattr(data_sets, "SMALL", 10)
    found, _ = answers(request(tiny, settings={"dataset": "owner/pets"}), tmp_path)
    assert "not decoded yet; its first image can be" in found[0].found


def test_what_was_fetched_before_is_found_without_network_and_its_cache_stays_as_it_was(tiny, tmp_path, monkeypatch):
    """The library keeps what came from the hub as OWNER___NAME, prepared as it prepares a folder."""
    import datasets

    cache = tmp_path / "cache"
    datasets.load_dataset(str(pets(tmp_path)), cache_dir=str(cache))
    (made,) = cache.rglob("dataset_info.json")
    kept = cache / "owner___pets" / "default" / "0.0.0" / "0123456789abcdef"
    kept.parent.mkdir(parents=True)
    made.parent.rename(kept)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(cache))
    monkeypatch.setenv("NORMZOO_CACHE", str(tmp_path / "decoded"))
    before = left_in(tmp_path)
    asked = request(tiny, settings={"dataset": "owner/pets", "train_samples": "all"})
    found = list(suite.planned(asked, tmp_path / "run", {}))
    assert [one.found for one in found][:1] == ["owner/pets: 80 images to train on, 20 to test on"]
    assert [one.level for one in found] == ["good", "good"]
    assert left_in(tmp_path) == before


def test_the_hub_is_never_asked_by_the_child(tiny, tmp_path, monkeypatch):
    given = {}

    def ask(module, asked, timeout, environment):
        given.update(environment)
        return Answers([], "")

    monkeypatch.setattr(suite, "ask", ask)
    assert list(suite.planned(request(tiny), tmp_path, {})) == []
    assert given == {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def test_a_plan_that_kills_its_process_is_a_fault(tiny, tmp_path):
    killer = tmp_path / "killer.py"
    killer.write_text("import os\nos.abort()\n", encoding="utf-8")
    (found,) = suite.planned(request(tiny, load=[str(killer)]), tmp_path / "run", {})
    assert (found.level, "signal 6 (SIGABRT)" in found.found) == ("fault", True)


def test_a_device_that_is_not_there_is_a_fault(tiny, tmp_path, caches, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert request(tiny, device="cuda").cuda
    assert not request(tiny).cuda
    found, _ = answers(request(tiny, device="cuda"), tmp_path)
    assert "device cuda was asked for, and torch finds no CUDA device here" in found[-1].found
    assert found[-1].level == "fault"


def test_a_folder_with_another_suites_run_is_a_fault_and_one_of_its_own_is_not(tiny, tmp_path):
    store = Store(tmp_path / "run")
    made = commands.plan(tiny)
    store.open(made)
    store.describe(made, "normzoo run")
    store.close()
    assert not list(suite.folder_of_a_run(tmp_path / "run", "tiny"))
    assert not list(suite.folder_of_a_run(tmp_path / "new", "tiny"))
    (found,) = suite.folder_of_a_run(tmp_path / "run", "quick")
    assert (found.level, "holds a run of the suite tiny, and not of quick" in found.found) == ("fault", True)
    (tmp_path / "run" / "run.json").write_text("{", encoding="utf-8")
    assert [one.level for one in suite.folder_of_a_run(tmp_path / "run", "tiny")] == ["warning"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("quik", {}), "did you mean 'quick'"),
        (("quick", {"settings": {"epoch": "1"}}), "did you mean 'epochs'"),
        (("", {"settings": {"epochs": "1"}}), "settings change a suite, and none is named"),
        (("", {"device": "gpu"}), "device is one of cpu, cuda, auto, got 'gpu'"),
        (("quick", {"device": "cpu", "settings": {"device": "cpu"}}), "keep one"),
    ],
)
def test_a_mistake_in_what_is_asked_is_told_before_anything_is_looked_at(asked, message):
    with pytest.raises(ValueError, match=message):
        request(asked[0], **asked[1])


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"normalizers": "bach_norm"}, "did you mean 'batch_norm'"), ({"load": ["nowhere.py"]}, "there is no file")],
)
def test_a_mistake_that_only_the_zoo_can_tell_is_no_finding(tiny, tmp_path, caches, asked, message):
    found, usage = answers(request(tiny, **asked), tmp_path)
    assert (found, len(usage), message in usage[0]) == ([], 1, True)


def invoke(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["normzoo", *words])
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, *capsys.readouterr()


@pytest.mark.usefixtures("no_imports")
def test_the_whole_of_it_on_a_suite_leaves_nothing_behind(monkeypatch, capsys, tmp_path, tiny):
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("NORMZOO_CACHE", raising=False)
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = pets(tmp_path)
    before = left_in(tmp_path)
    words = ["--set", "train_samples=all", "--set", f"dataset={folder}"]
    code, out, err = invoke(monkeypatch, capsys, "doctor", tiny, *words)
    assert (code, err) == (0, ""), out
    assert "nothing here would stop a run" in out
    assert "tiny: 11 cells to measure" in out
    assert left_in(tmp_path) == before


@pytest.mark.usefixtures("no_imports")
def test_a_normalizer_that_is_not_known_is_one_message_and_exit_code_2(monkeypatch, capsys, tiny):
    code, out, err = invoke(monkeypatch, capsys, "doctor", tiny, "--normalizers", "bach_norm")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "did you mean 'batch_norm'" in err


@pytest.mark.parametrize(("level", "code"), [("good", 0), ("warning", 0), ("fault", 1)])
def test_only_a_fault_makes_the_exit_code_1(monkeypatch, level, code):
    monkeypatch.setattr(commands, "doctor", lambda *_, **__: [Finding("disk", level, "[b]full[/b]", "make room")])
    shown = CliRunner().invoke(cli.app, ["doctor"])
    assert (shown.exit_code, "[b]full[/b]" in shown.output, "→ make room" in shown.output) == (code, True, True)
    as_json = CliRunner().invoke(cli.app, ["doctor", "--json"])
    assert as_json.exit_code == code
    assert json.loads(as_json.output) == [{"check": "disk", "level": level, "found": "[b]full[/b]", "do": "make room"}]


def test_the_function_has_the_command_lines_name(monkeypatch):
    monkeypatch.setattr("normzoo_bench.diagnosis.diagnose", lambda asked, out: (asked, out))
    assert normzoo_bench.doctor("quick", out="x", seeds=2) == (Request("quick", seeds=2), Path("x"))
    assert normzoo_bench.doctor() == (Request(""), None)
