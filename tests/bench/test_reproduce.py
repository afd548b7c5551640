"""``reproduce``: one cell measured again, beside what a run has stored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import normzoo_bench
from normzoo_bench import again, cli
from normzoo_bench.errors import UsageError
from normzoo_suites import read_run


@pytest.fixture(scope="module")
def ran(tiny, tmp_path_factory):
    """A real run of 4 trainings and one layer."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return normzoo_bench.run(tiny, out=folder, settings={"ranks": "1"}, jobs=2).folder


@pytest.fixture
def run(ran, tmp_path):
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(ran, tmp_path / "run"))


def one(folder, measure="accuracy", normalizer="batch_norm"):
    records = read_run(folder).records.values()
    return next(r for r in records if (r.measure, r.settings["normalizer"]) == (measure, normalizer))


def change(folder, record, **changes):
    changed = record.model_copy(update=changes)
    (folder / "cells" / f"{record.id}.json").write_text(changed.to_json(), encoding="utf-8")
    return changed


def contents(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.rglob("*.json"))}


def test_a_training_on_this_machine_is_the_same_to_the_bit_and_the_run_stays_as_it_is(ran, tmp_path):
    before, out = contents(ran), tmp_path / "kept"
    found = normzoo_bench.reproduce(ran, one(ran).id[:9], out=out)
    assert found.same_to_the_bit
    assert not found.environment.keys() - {"commit", "dirty"}  # which says nothing of the code: `code` does
    assert found.exit_code == 0
    assert contents(ran) == before
    assert read_run(out).records[found.stored.id] == found.again
    assert found.again.command == found.stored.command


def test_a_number_that_was_tampered_with_is_found_and_told_in_seed_spreads(run, capsys, monkeypatch):
    """Both seeds have their true accuracies, but the stored one of this cell is 0.5 too low."""
    record = one(run)
    spoiled = record.metrics | {"test_accuracy": record.metrics["test_accuracy"] - 0.5}
    change(run, record, metrics=spoiled)
    measured_as(monkeypatch, record)
    monkeypatch.setattr("sys.argv", ["normzoo", "reproduce", str(run), record.id, "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    told = json.loads(capsys.readouterr().out)
    assert [name for name, metric in told["metrics"].items() if not metric["agrees"]] == ["test_accuracy"]
    accuracy = told["metrics"]["test_accuracy"]
    seeds = [r.metrics["test_accuracy"] for r in read_run(run).records.values() if alike(r, record)]
    assert accuracy["difference"] == pytest.approx(0.5)
    assert accuracy["spreads"] == pytest.approx(0.5 / np.std(seeds, ddof=1))
    assert not told["same_to_the_bit"]


def measured_as(monkeypatch, record):
    """Have no worker: what is measured again gives this record."""
    monkeypatch.setattr("normzoo_bench.reproducing._measured", lambda plan, asked: record)


def alike(one, other):
    return one.measure == "accuracy" and one.settings["normalizer"] == other.settings["normalizer"]


def made(run, stored, again_, environment=None):
    """Hold two made-up sets of numbers against each other."""
    base = one(run)
    stored = base.model_copy(update={"metrics": stored})
    new = base.model_copy(update={"metrics": again_, "environment": base.environment | (environment or {})})
    return again.compared(read_run(run), stored, new)


def test_where_versions_differ_as_much_as_three_seed_spreads_may_lie_between(run):
    records = [r for r in read_run(run).records.values() if alike(r, one(run))]
    for record, value in zip(records, (0.90, 0.92), strict=True):
        change(run, record, metrics={"test_accuracy": value})
    spread = np.std([0.90, 0.92], ddof=1)
    for apart, code in ((2.9, 0), (-2.9, 0), (3.1, 3)):
        value = {"test_accuracy": 0.90 + apart * spread}
        found = made(run, {"test_accuracy": 0.90}, value, {"torch": "9.9"})
        assert found.exit_code == code
        assert found.metrics[0].spreads == pytest.approx(apart)
        assert found.environment == {"torch": (one(run).environment["torch"], "9.9")}
        assert made(run, {"test_accuracy": 0.90}, value).exit_code == 3  # nothing has changed: to the bit


def test_epochs_that_differ_on_the_way_are_no_reproduction_where_all_must_be_the_same(run):
    base = one(run)
    other = base.model_copy(update={"series": base.series | {"train_loss": [9.9]}})
    assert again.compared(read_run(run), base, base).exit_code == 0
    assert again.compared(read_run(run), base, other).exit_code == 3
    elsewhere = other.model_copy(update={"environment": base.environment | {"torch": "9.9"}})
    assert again.compared(read_run(run), base, elsewhere).exit_code == 0


def test_another_commit_or_an_uncommitted_file_does_not_excuse_another_number(run):
    assert made(run, {"test_loss": 1.0}, {"test_loss": 1.0000001}, {"commit": "abc", "dirty": True}).exit_code == 3


def test_a_number_that_is_missing_or_new_does_not_agree(run):
    assert made(run, {"a": 1.0, "b": 1.0}, {"a": 1.0}).exit_code == 3
    assert made(run, {"a": 1.0}, {"a": 1.0, "b": 1.0}).exit_code == 3


def test_one_repeat_alone_has_no_spread_and_the_screen_says_so(run, capsys, monkeypatch):
    record = one(run, "throughput", "group_norm")
    slower = {name: value * 1.1 if "ms" in name else value for name, value in record.metrics.items()}
    measured_as(monkeypatch, record.model_copy(update={"metrics": slower}))
    monkeypatch.setattr("sys.argv", ["normzoo", "reproduce", str(run), record.id])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    told = " ".join(capsys.readouterr().out.split())
    assert "no spread: one repeat only" in told
    assert "and one repeat does not tell by how much they may" in told


PLUGIN = """
import normzoo
from normzoo.norms import NoNorm

@normzoo.register("mine", paper="none", year=None, pools=set())
class Mine(NoNorm):
    pass
"""


@pytest.fixture
def with_plugin(tiny, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN, encoding="utf-8")
    asked = {"settings": {"ranks": "1"}, "seeds": 1, "normalizers": ["mine"], "load": [str(file)]}
    return normzoo_bench.run(tiny, out=tmp_path / "plugin", jobs=1, **asked).folder, file


@pytest.mark.slow
def test_a_normalizer_from_outside_is_loaded_only_where_it_is_given_and_refused_where_it_has_changed(with_plugin):
    from normzoo import plugins, registry

    folder, file = with_plugin
    cell = one(folder, normalizer="mine").id
    assert normzoo_bench.reproduce(folder, cell, load=[file]).same_to_the_bit
    registry._cards.pop("mine")
    plugins._loaded.clear()
    with pytest.raises(
        UsageError, match=r"mine of the cell .* is not known here; its record was made with --load .*mi"
    ):
        normzoo_bench.reproduce(folder, cell)
    file.write_text(PLUGIN + "    changed = True\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"the source of mine has changed since: .*--anyway"):
        normzoo_bench.reproduce(folder, cell, load=[file])
    found = normzoo_bench.reproduce(folder, cell, load=[file], anyway=True)
    assert "the source of mine has changed" in found.changes[0]
    assert found.exit_code == 0  # it computes what it did


def pictures(folder, seed):
    draw = np.random.default_rng(seed)
    for part, count in (("train", 20), ("test", 5)):
        for label in ("cat", "dog"):
            place = folder / part / label
            place.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 255, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


@pytest.mark.slow
def test_a_folder_of_data_is_found_by_where_the_user_says_and_refused_where_it_has_changed(tiny, tmp_path, own_caches):
    pets = pictures(tmp_path / "pets", 0)
    changes = {"ranks": "1", "dataset": str(pets), "train_samples": "all", "batch_size": "10"}
    asked = {"settings": changes, "seeds": 1, "normalizers": ["batch_norm"]}
    folder = normzoo_bench.run(tiny, out=tmp_path / "run", jobs=1, **asked).folder
    cell = one(folder).id
    with pytest.raises(UsageError, match=r"the data set pets@\w+ of the cell .* is a folder: say where .* --data PATH"):
        normzoo_bench.reproduce(folder, cell)  # its command has no absolute path
    assert normzoo_bench.reproduce(folder, cell, data=pets).same_to_the_bit
    other = pictures(tmp_path / "elsewhere" / "pets", 1)
    with pytest.raises(UsageError, match=r"the data is not what it was: pets@.* with the fingerprint .*--anyway"):
        normzoo_bench.reproduce(folder, cell, data=other)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run, record: "zzz", r"no cell with an id that starts with 'zzz'"),
        (lambda run, record: "", r"5 cells with an id that starts with ''"),
        (lambda run, record: (run / "cells" / f"{record.id}.json").unlink(), r"has no record .*: it has not been me"),
        (lambda run, record: change(run, record, status="skipped", reason="no way") and None, r"was skipped.*: no way"),
    ],
)
def test_what_cannot_be_measured_again_is_told_at_once(run, spoil, message):
    record = one(run)
    wanted = spoil(run, record)
    with pytest.raises(UsageError, match=message):
        normzoo_bench.reproduce(run, record.id if wanted is None else wanted)


def test_the_new_record_goes_neither_into_the_run_nor_among_other_cells(run, tmp_path):
    record = one(run)
    with pytest.raises(UsageError, match="is the run itself, whose records stay as they are"):
        normzoo_bench.reproduce(run, record.id, out=run)
    other = shutil.copytree(run, tmp_path / "other")
    with pytest.raises(UsageError, match="holds other cells; name another folder"):
        normzoo_bench.reproduce(run, record.id, out=other)


def test_a_cell_that_fails_exits_with_1(run, monkeypatch):
    measured_as(monkeypatch, one(run).model_copy(update={"status": "crashed", "metrics": {}}))
    assert normzoo_bench.reproduce(run, one(run).id).exit_code == 1


@pytest.mark.slow
def test_a_tuned_cell_is_measured_with_what_was_chosen_and_not_tuned_again(tiny, tmp_path):
    asked = {"tune": {"learning_rate": "0.05,0.2"}, "normalizers": ["batch_norm"], "settings": {"ranks": "1"}}
    folder = normzoo_bench.run(tiny, out=tmp_path / "tuned", jobs=2, seeds=1, **asked).folder
    run = read_run(folder)
    cell = next(cell for cell in run.cells if cell.measure == "accuracy")
    found = normzoo_bench.reproduce(folder, cell.id, out=tmp_path / "again")
    assert found.same_to_the_bit
    kept = read_run(tmp_path / "again")
    assert [one.id for one in kept.cells] == [cell.id]
    assert not kept.trials
    assert normzoo_bench.reproduce(folder, run.trials[0].id).same_to_the_bit  # a trial is a cell, too
