"""What a merged run plans: whose cells, tuned by what, looked at when, and how it goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from made_runs import SELECT, SOURCES, TEXT, fault_of, holds, record_of, suite, write_run

import normzoo_bench
from normzoo_bench import cli, commands
from normzoo_bench.errors import UsageError
from normzoo_bench.planner import mark_same, source_hash
from normzoo_bench.running.store import Store, data_fingerprint
from normzoo_suites import Record, read_run
from normzoo_suites.contracts import ContractResult, Finding, file_name

TUNED = TEXT + SELECT


@pytest.fixture
def make(tmp_path):
    """Give a function that writes a run of the suite under a name, asked as told."""

    def write(name, made=record_of, text=TEXT, content=None, **asked):
        return write_run(tmp_path / name, suite(text, **asked), made, **(content or {}))

    return write


def nothing(cell):
    return None


REFUSED = {
    "are runs of two suites, made and other; merge runs of one": ('name = "made"', 'name = "other"'),
    "under the protocols 1 and 2 of made": ("protocol = 1", "protocol = 2"),
    "under different claims, and claims are made before the run": ("margin = 0.01", "margin = 0.02"),
    "under different select, and one report needs one way of tuning": ("[[claims]]", f"{SELECT}\n[[claims]]"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_runs_whose_numbers_belong_into_two_reports_are_refused(make, tmp_path, what):
    a, b = make("a"), make("b", text=TEXT.replace(*REFUSED[what]))
    with pytest.raises(UsageError, match=f"a and .*b (were measured )?{what}"):
        normzoo_bench.merge(a, b, to=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_batch_sizes_are_not_joined_where_no_run_says_what_momentum_counts(make, tmp_path):
    with pytest.raises(UsageError, match=r"a and .*b cannot be joined: batch_size varies \(40, 80\)"):
        normzoo_bench.merge(make("a"), make("b", settings={"batch_size": "80"}), to=tmp_path / "c")


def test_a_run_that_other_normalizers_and_values_extend_plans_all_as_the_planner_would(make, tmp_path):
    a = make("a")
    b = make("b", normalizers=["batch_norm", "group_norm", "layer_norm"], settings={"ranks": "1,5,20"})
    normzoo_bench.merge(a, b, to=tmp_path / "c")
    merged = read_run(tmp_path / "c")
    assert {cell.id for cell in merged.cells} == {cell.id for one in (a, b) for cell in read_run(one).cells}
    planned = mark_same(merged.suite.cells())
    assert merged.cells == planned
    assert len(merged.records) == len(planned)


def test_where_one_folder_planned_what_the_others_did_the_merged_run_is_its_plan(make, tmp_path):
    a, b = make("a", nothing, seeds=1), make("b", nothing, seeds=3)
    normzoo_bench.merge(a, b, to=tmp_path / "c")
    assert read_run(tmp_path / "c").suite == read_run(b).suite
    assert read_run(tmp_path / "c").cells == read_run(b).cells


def test_a_cell_that_only_more_ranks_make_a_twin_is_one_and_is_measured_where_it_was(make, tmp_path):
    """A normalizer that pools over no batch is one computation at every ranks: 1 is its first, 5 was measured alone."""
    a, b = make("a", settings={"ranks": "5,10"}), make("b", settings={"ranks": "1,8,20"})
    normzoo_bench.merge(a, b, to=tmp_path / "c")
    cells = [cell for cell in read_run(tmp_path / "c").cells if cell.measure == "accuracy"]
    group = {cell.settings.ranks: cell for cell in cells if "group" in cell.settings.normalizer and cell.settings.seed}
    first = group[1].id
    assert {ranks: cell.twin_of for ranks, cell in group.items()} == {1: None} | dict.fromkeys((5, 8, 10, 20), first)
    assert {ranks: cell.same_as for ranks, cell in group.items() if cell.same_as} == {8: first}
    assert read_run(tmp_path / "c").records.keys() == {cell.id for cell in read_run(tmp_path / "c").cells}


def test_what_some_folder_can_run_is_skipped_in_none(make, tmp_path):
    a, b = make("a", nothing), make("b", nothing)
    run = json.loads((a / "run.json").read_text(encoding="utf-8"))
    run["cells"][0]["skip"] = run["cells"][1]["skip"] = "no GPU"
    (a / "run.json").write_text(json.dumps(run), encoding="utf-8")
    run["cells"][1]["skip"] = None
    (b / "run.json").write_text(json.dumps(run), encoding="utf-8")
    normzoo_bench.merge(a, b, to=tmp_path / "c")
    assert [cell.skip for cell in read_run(tmp_path / "c").cells][:3] == ["no GPU", None, None]


def only_seed(seed):
    return lambda cell: record_of(cell) if cell.settings.replicate == seed else None


def test_shards_of_one_plan_are_no_look(make, tmp_path):
    shards = [make(str(seed), only_seed(seed)) for seed in (0, 1)]
    normzoo_bench.merge(*shards, to=tmp_path / "c")
    assert read_run(tmp_path / "c").looks == ()


def test_more_seeds_than_a_finished_folder_had_are_a_look(make, tmp_path):
    normzoo_bench.merge(make("a", seeds=2), make("b", seeds=5), to=tmp_path / "c")
    assert read_run(tmp_path / "c").looks == (2,)
    normzoo_bench.merge(make("d", settings={"seed": "5,6,7"}), to=tmp_path / "c")
    assert read_run(tmp_path / "c").looks == (2, 5, 3)


def test_more_seeds_than_an_unfinished_folder_had_are_no_look(make, tmp_path):
    normzoo_bench.merge(make("a", only_seed(1), seeds=2), make("b", nothing, seeds=5), to=tmp_path / "c")
    assert read_run(tmp_path / "c").looks == ()


def test_other_normalizers_with_the_same_seeds_are_no_look_and_earlier_looks_stay(make, tmp_path):
    a = make("a", content={"looks": [1]})
    normzoo_bench.merge(a, make("b", normalizers=["layer_norm", "none"]), to=tmp_path / "c")
    assert read_run(tmp_path / "c").looks == (1,)


def go_on(make, tmp_path, monkeypatch, one, other):
    """Merge two folders, named as a user would, and give the command line that goes on."""
    monkeypatch.chdir(tmp_path)
    one, other = ({"made": nothing} | part for part in (one, other))
    make("a", **one), make("b", **other)
    return normzoo_bench.merge("a", "b", to="c").command


def test_the_command_that_goes_on_with_merged_shards_is_theirs_for_the_merged_folder(make, tmp_path, monkeypatch):
    shards = [{"content": {"command": f"normzoo run made.toml --set 'ranks=1,5' --out {name}"}} for name in ("a", "b")]
    assert go_on(make, tmp_path, monkeypatch, *shards) == "normzoo run made.toml --set ranks=1,5 --out c"


def test_the_command_that_goes_on_is_that_of_the_folder_that_planned_the_whole(make, tmp_path, monkeypatch):
    told = {"command": "normzoo run made --seeds 4 --out b"}
    command = go_on(make, tmp_path, monkeypatch, {"seeds": 2}, {"seeds": 4, "content": told})
    assert command == "normzoo run made --seeds 4 --out c"


def test_where_no_folder_planned_the_whole_each_goes_on_by_itself_and_is_merged_again(make, tmp_path, monkeypatch):
    parts = {"normalizers": ["batch_norm"]}, {"normalizers": ["layer_norm"]}
    command = "normzoo run made --out a && normzoo run made --out b && normzoo merge a b --to c"
    assert go_on(make, tmp_path, monkeypatch, *parts) == command
    assert normzoo_bench.merge("a", to="c").command == command
    make("d", nothing, normalizers=["none"])
    assert normzoo_bench.merge("d", to="c").command == (
        "normzoo run made --out a && normzoo run made --out b && normzoo run made --out d && normzoo merge a b d --to c"
    )


def trial(cell):
    return cell.settings.model_dump().get("evaluate_on") == "validation"


def test_trials_of_several_folders_tune_together_and_what_they_choose_waits_for_the_next_run(make, tmp_path):
    a = make("a", lambda cell: record_of(cell) if trial(cell) and cell.id < "8" else None, TUNED)
    b = make("b", lambda cell: record_of(cell) if trial(cell) and cell.id >= "8" else None, TUNED)
    normzoo_bench.merge(a, b, to=tmp_path / "c")
    merged, whole = read_run(tmp_path / "c"), read_run(make("d", text=TUNED))
    assert merged.choices() == whole.choices() != read_run(a).choices()
    assert merged.trials == whole.trials
    assert len(merged.cells) + merged.waiting == len(whole.cells)


def test_trials_of_folders_with_other_normalizers_stand_in_the_planners_order_seed_by_seed(make, tmp_path):
    text = TUNED.replace("seeds = 1", "seeds = 2")
    parts = [make(name, nothing, text, normalizers=[name]) for name in ("batch_norm", "group_norm")]
    normzoo_bench.merge(*parts, to=tmp_path / "c")
    trials = read_run(tmp_path / "c").trials
    assert [one.settings.replicate for one in trials] == sorted(one.settings.replicate for one in trials)


def test_shards_of_a_tuned_run_merge_into_it(make, tmp_path):
    whole = make("whole", text=TUNED)
    ids = sorted(read_run(whole).records)
    shards = [make(str(n), text=TUNED) for n in range(3)]
    for number, shard in enumerate(shards):
        for cell_id in ids[number::3]:
            (shard / "cells" / f"{cell_id}.json").unlink(missing_ok=True)
    normzoo_bench.merge(*shards, to=tmp_path / "c")
    ours, theirs = (holds(folder) for folder in (tmp_path / "c", whole))
    assert json.loads(ours.pop("run.json")) | {"command": ""} == json.loads(theirs.pop("run.json")) | {"command": ""}
    assert ours == theirs


def test_a_cell_that_was_tuned_by_failed_trials_gives_way_to_what_all_trials_choose(make, tmp_path):
    """Where the trials at the better rate crashed, the other rate was chosen; its record stays, and counts no more."""
    best = {cell.settings.normalizer: cell.settings.learning_rate for cell in tuned_cells(make("whole", text=TUNED))}

    def unlucky(cell):
        lost = trial(cell) and cell.settings.learning_rate == best[cell.settings.normalizer]
        return fault_of(cell) if lost else record_of(cell)

    a, b = make("a", unlucky, TUNED), make("b", lambda cell: record_of(cell) if trial(cell) else None, TUNED)
    assert {cell.settings.learning_rate for cell in tuned_cells(a)} != set(best.values()) or len(set(best.values())) > 1
    normzoo_bench.merge(a, b, to=tmp_path / "c")
    assert read_run(tmp_path / "c").choices() == read_run(tmp_path / "whole").choices()
    assert tuned_cells(tmp_path / "c") == tuned_cells(b)
    wrong = [cell.id for cell in tuned_cells(a) if cell.same_as is None]
    assert all((tmp_path / "c" / "cells" / f"{one}.json").exists() for one in wrong)


def tuned_cells(folder):
    return [cell for cell in read_run(folder).cells if cell.measure == "accuracy"]


def test_runs_that_were_planned_with_two_sources_of_a_normalizer_are_refused(make, tmp_path):
    a, b = make("a", nothing, TUNED), make("b", nothing, TUNED, {"sources": SOURCES | {"group_norm": "04d"}})
    with pytest.raises(UsageError, match=r"different sources of group_norm \(91 and 04d\)"):
        normzoo_bench.merge(a, b, to=tmp_path / "c")
    normzoo_bench.merge(a, b, to=tmp_path / "c", prefer=b)
    assert json.loads((tmp_path / "c" / "run.json").read_text(encoding="utf-8"))["sources"]["group_norm"] == "04d"


def result(outcome, source=SOURCES["batch_norm"], machine="X"):
    finding = Finding(check="pools", sentence="It pools.", outcome=outcome)
    return ContractResult(
        normalizer="batch_norm", source_hash=source, environment={"cpu": machine}, findings=(finding,)
    )


def with_contract(folder, held):
    (folder / "contracts").mkdir()
    (folder / "contracts" / file_name("batch_norm")).write_text(held.to_json(), encoding="utf-8")
    return folder


def test_contract_results_are_joined_and_that_of_the_measured_source_is_taken(make, tmp_path):
    a = with_contract(make("a", nothing), result("failed", source="01d"))
    b = with_contract(make("b"), result("passed"))
    normzoo_bench.merge(a, b, make("c", nothing), to=tmp_path / "d")
    assert read_run(tmp_path / "d").contracts == {"batch_norm": result("passed")}


def test_contract_results_that_contradict_each_other_are_refused_unless_a_folder_is_preferred(make, tmp_path):
    a, b = with_contract(make("a"), result("passed")), with_contract(make("b"), result("failed"))
    with pytest.raises(UsageError, match="found of batch_norm: pools is passed and failed; --prefer"):
        normzoo_bench.merge(a, b, to=tmp_path / "c")
    normzoo_bench.merge(a, b, to=tmp_path / "c", prefer=b)
    assert read_run(tmp_path / "c").contracts == {"batch_norm": result("failed")}


def test_the_same_finding_on_two_machines_is_no_contradiction_and_half_a_result_is_left_out(make, tmp_path):
    a, b = with_contract(make("a"), result("passed")), with_contract(make("b"), result("passed", machine="Y"))
    (b / "contracts" / "group_norm.json").write_text("{", encoding="utf-8")
    merged = normzoo_bench.merge(a, b, to=tmp_path / "c")
    assert read_run(tmp_path / "c").contracts == {"batch_norm": result("passed")}
    assert list(merged.unreadable) == [str(b / "contracts" / "group_norm.json")]


def test_a_run_goes_on_in_the_merged_folder_and_measures_nothing_twice(tiny, tmp_path):
    plan = commands.plan(tiny)
    stores = [Store(tmp_path / name) for name in ("a", "b")]
    for store in stores:
        store.open(plan)
        store.describe(plan, "normzoo run")
        store.close()
    for number, cell in enumerate(plan.to_do()):
        record = Record(
            id=cell.id, suite="tiny", measure=cell.measure, settings=cell.settings.model_dump(), status="ok",
            source_hash=source_hash(cell), data_fingerprint=data_fingerprint(plan, cell),
        )  # fmt: skip
        stores[number % 2].write(record)
    normzoo_bench.merge(tmp_path / "a", tmp_path / "b", to=tmp_path / "c")
    store = Store(tmp_path / "c")
    store.open(plan)
    assert store.finished(plan, frozenset())[0].keys() == {cell.id for cell in plan.to_do()}
    before = (tmp_path / "c" / "run.json").read_text(encoding="utf-8")
    store.describe(plan, json.loads(before)["command"])
    assert json.loads((tmp_path / "c" / "run.json").read_text(encoding="utf-8")) == json.loads(before)


@pytest.mark.slow
@pytest.mark.parametrize("select", ["", SELECT])
def test_shards_that_were_measured_apart_and_merged_equal_one_run(tiny, tmp_path, select):
    file = tmp_path / "tiny.toml"
    file.write_text(Path(tiny).read_text(encoding="utf-8") + select, encoding="utf-8")
    shards = [tmp_path / str(number) for number in (1, 2, 3)]
    for number, folder in enumerate(shards, start=1):
        commands.run(file, out=folder, shard=f"{number}/3", jobs=1)
    commands.run(file, out=tmp_path / "one", jobs=1)
    merged = normzoo_bench.merge(*shards, to=tmp_path / "merged")
    one, other = read_run(tmp_path / "one"), read_run(tmp_path / "merged")
    assert merged.to_do == 0
    assert (one.cells, one.trials, one.waiting, one.looks) == (other.cells, other.trials, other.waiting, other.looks)
    assert one.records.keys() == other.records.keys()
    trained = [cell_id for cell_id, record in one.records.items() if record.measure == "accuracy"]
    assert all(one.records[cell_id].metrics == other.records[cell_id].metrics for cell_id in trained)
    assert commands.run(file, out=tmp_path / "merged", jobs=1).measured == 0


@pytest.fixture
def run_cli(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["normzoo", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def test_the_command_line_merges_and_says_what_is_left_to_do(make, tmp_path, monkeypatch, run_cli):
    monkeypatch.chdir(tmp_path)
    make("a", only_seed(0)), make("b", nothing)
    code, out, _ = run_cli("merge", "a", "b", "--to", "c")
    assert code == 0
    assert out.splitlines() == [
        "made: 14 cells, 5 to do; records: 7 from a, 0 from b", "wrote 8 files to c",
        "go on with: normzoo run made --out c",
    ]  # fmt: skip


def test_the_command_line_refuses_a_contradiction_in_one_message_with_exit_code_2(make, tmp_path, run_cli):
    a, b = make("a"), make("b", lambda cell: record_of(cell, metrics={"test_accuracy": 2.0}))
    code, _, err = run_cli("merge", a, b, "--to", tmp_path / "c")
    assert code == 2
    assert err.startswith(f"normzoo: {a} and {b} contradict each other in the cell ")
    assert len(err.splitlines()) == 1
