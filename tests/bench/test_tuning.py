"""A tuned suite from plan to records: trials first, then the cells with what was chosen."""

from __future__ import annotations

import json
import shutil

import pytest

from normzoo_bench import commands
from normzoo_bench.errors import UsageError
from normzoo_bench.result import Result
from normzoo_bench.running.jobs import apart, jobs
from normzoo_bench.running.pool import outcomes as measured
from normzoo_bench.running.rounds import Options
from normzoo_bench.running.worker import Outcome
from normzoo_suites import Cell, read_run

SUITE = """
name = "tuned"
question = "Does tuning reach the records?"
protocol = 1

[select]
fixed = { train_samples = 120 }
[select.grid]
learning_rate = [0.02, 0.1, 0.5]

[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 1, batch_size = 40, train_samples = 200, readings = "all" }
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
ranks = [1, 20]
seed = 2

[[grids]]
measure = "throughput"
fixed = { normalizer = "none", shape = "8x4x4", batch_size = 4 }
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    file = tmp_path_factory.mktemp("suite") / "tuned.toml"
    file.write_text(SUITE, encoding="utf-8")
    return str(file)


@pytest.fixture(scope="module")
def ran(suite, tmp_path_factory):
    return commands.run(suite, out=tmp_path_factory.mktemp("run") / "run", jobs=2)


def test_a_plan_counts_trials_and_the_cells_that_wait_for_them(suite):
    plan = commands.plan(suite)
    assert [cell.measure for cell in plan.cells] == ["throughput"]
    assert plan.waiting == 2 * 2 * 2
    # group norm sees no ranks: its two conditions are one computation, tried once
    assert len(plan.to_do(plan.trials)) == 3 * 3
    assert len(plan.trials) == 4 * 3


def test_every_result_was_trained_with_the_best_of_its_own_trials(ran):
    run = read_run(ran.folder)
    assert run.waiting == 0
    assert {record.status for record in run.records.values()} == {"ok"}
    choices = run.choices()
    assert len(choices) == 4
    for choice in choices.values():
        best = max(choice.scores, key=lambda one: one[1])
        assert choice.chosen == best[0]
        mine = [
            run.records[cell.id].settings["learning_rate"]
            for cell in run.cells
            if cell.measure == "accuracy"
            and (cell.settings.normalizer, cell.settings.ranks)
            == (choice.cell.settings.normalizer, choice.cell.settings.ranks)
        ]
        assert mine == [best[0]["learning_rate"]] * 2


def test_scores_are_the_trials_own_validation_accuracies(ran):
    run = read_run(ran.folder)
    for trial in run.trials:
        metrics = run.records[trial.id].metrics
        assert "test_accuracy" not in metrics
        assert trial.settings.train_samples == 120
        assert trial.settings.seed == 100
    (choice,) = [
        one
        for one in run.choices().values()
        if (one.cell.settings.normalizer, one.cell.settings.ranks) == ("batch_norm", 20)
    ]
    own = [t for t in run.trials if t.settings.normalizer == "batch_norm" and t.settings.ranks == 20]
    assert [score for _, score in choice.scores] == [run.records[t.id].metrics["validation_accuracy"] for t in own]


def test_a_second_run_measures_nothing_and_keeps_what_was_chosen(suite, ran):
    before = json.loads((ran.folder / "run.json").read_text(encoding="utf-8"))
    again = commands.run(suite, out=ran.folder, jobs=2)
    assert again.measured == 0
    assert json.loads((ran.folder / "run.json").read_text(encoding="utf-8"))["cells"] == before["cells"]


def test_the_command_in_a_results_record_names_what_was_chosen_and_finds_the_cell(suite, ran):
    run = read_run(ran.folder)
    cell = next(cell for cell in run.cells if cell.measure == "accuracy")
    record = run.records[cell.id]
    assert f"--set learning_rate={cell.settings.learning_rate}" in record.command
    plan = commands.plan(suite, settings={"learning_rate": str(cell.settings.learning_rate)}, cell=cell.id)
    assert [one.id for one in plan.cells] == [cell.id]


def test_the_command_in_a_trials_record_finds_the_trial(suite, ran):
    run = read_run(ran.folder)
    trial = run.trials[0]
    assert "learning_rate" not in run.records[trial.id].command
    assert [one.id for one in commands.plan(suite, cell=trial.id).cells] == [trial.id]


def test_a_killed_run_goes_on_with_the_trials_that_it_has(suite, ran, tmp_path):
    plan = commands.plan(suite)
    records = read_run(ran.folder).records
    some = {t.id: records[t.id] for t in plan.trials if t.settings.normalizer == "batch_norm" and t.settings.ranks == 1}
    tuned = plan.tuned(some)
    assert tuned.waiting == 6
    assert {cell.settings.normalizer for cell in tuned.cells if cell.measure == "accuracy"} == {"batch_norm"}


def test_status_tells_trials_and_what_waits(suite, ran):
    found = commands.status(ran.folder)
    assert found.trials == (9, 9)
    assert (found.waiting, found.to_do) == (0, 0)


def test_a_folder_keeps_one_way_of_tuning(suite, ran, tmp_path):
    other = tmp_path / "tuned.toml"
    other.write_text(SUITE.replace("0.5]", "0.9]"), encoding="utf-8")
    with pytest.raises(UsageError, match="holds records measured under other select, and one report needs one way"):
        commands.run(str(other), out=ran.folder)


def test_a_validation_part_that_leaves_too_few_samples_is_told_before_anything_is_trained(suite):
    with pytest.raises(UsageError, match=r"batch_size is 1200, larger than the 1149 training samples .* validation"):
        commands.plan(
            suite, settings={"batch_size": "1200", "train_samples": "all", "ranks": "1", "evaluate_on": "validation"}
        )


def cells(settings, **axes):
    made = [{}]
    for key, values in axes.items():
        made = [one | {key: value} for one in made for value in values]
    return [Cell("accuracy", 1, settings(**one)) for one in made]


def test_cells_of_one_training_are_one_job_and_seeds_only_where_asked_on_a_gpu(settings):
    some = cells(settings, seed=[0, 1, 2], eval_batch_size=[0, 2], readings=["all"])
    assert [len(job) for job in jobs(some)] == [2, 2, 2]
    assert [len(job) for job in jobs(some, together=3)] == [2, 2, 2]  # on a CPU there is nothing to gain
    on_gpu = cells(settings, seed=[0, 1, 2], eval_batch_size=[0, 2], readings=["all"], device=["cuda"])
    assert [len(job) for job in jobs(on_gpu, together=2)] == [4, 2]
    assert [len(job) for job in apart(jobs(on_gpu, together=2)[0])] == [2, 2]
    other = cells(settings, seed=[0, 1], normalizer=["batch_norm", "none"], device=["cuda"])
    assert [{cell.settings.normalizer for cell in job} for job in jobs(other, together=4)] == [{"batch_norm"}, {"none"}]


def test_seeds_that_fail_side_by_side_are_measured_again_alone(settings, suite, monkeypatch):
    """Made-up outcomes: what runs side by side is out of memory, what runs alone is not."""
    from normzoo_bench.running import pool

    asked = []

    def fake(setup, count, place, timeout, schedule):
        while work := schedule():
            asked.append(len(work[0]))
            status = "oom" if len(work[0]) > 1 else "ok"
            yield work[0], [Outcome(status, "", Result({}), {}, 1.0) for _ in work[0]]

    monkeypatch.setattr(pool, "measured", fake)
    some = cells(settings, seed=[0, 1, 2], device=["cuda"])
    ended = list(measured(commands.plan(suite), some, Options(together=3)))
    assert asked == [3, 1, 1, 1]
    assert sorted((cell.settings.seed, outcome.status) for cell, outcome in ended) == [(0, "ok"), (1, "ok"), (2, "ok")]


def test_a_condition_that_cannot_run_is_skipped_with_its_reason_and_nothing_waits_for_it(suite, tmp_path):
    out = tmp_path / "run"
    asked = {"normalizers": ["batch_norm", "group_norm(groups=7)"], "settings": {"ranks": "1"}, "seeds": 1}
    first = commands.run(suite, out=out, jobs=2, **asked)
    assert first.statuses["skipped"] == 2  # the layer that is timed has channels that 7 does not divide, either
    run = read_run(out)
    assert run.waiting == 0
    assert len(run.trials) == 3
    skipped = [record.reason for record in run.records.values() if record.status == "skipped"]
    assert all("groups must divide" in reason for reason in skipped)
    assert commands.run(suite, out=out, jobs=2, **asked).measured == 0


def test_a_reading_of_more_samples_than_there_are_to_test_is_skipped_in_the_plan(suite):
    plan = commands.plan(
        suite, settings={"eval_batch_size": "0,400", "learning_rate": "0.1"}, normalizers=["batch_norm"]
    )
    assert {cell.settings.eval_batch_size: cell.skip for cell in plan.cells if cell.measure == "accuracy"} == {
        0: None,
        400: "eval_batch_size is 400, and the test part has 360 samples",
    }


def accuracy_cell(run):
    return next(cell for cell in run.cells if cell.measure == "accuracy")


def test_a_tuned_cell_is_found_by_its_id_in_the_folder_of_its_trials(suite, ran):
    before = (ran.folder / "run.json").read_text(encoding="utf-8")
    cell = accuracy_cell(read_run(ran.folder))
    assert [one.id for one in commands.plan(suite, out=ran.folder, cell=cell.id[:12]).cells] == [cell.id]
    again = commands.run(suite, out=ran.folder, cell=cell.id)
    assert (again.measured, again.resumed) == (0, 1)
    assert (ran.folder / "run.json").read_text(encoding="utf-8") == before


def test_a_tuned_cell_without_its_trials_is_told_where_they_would_be(suite, ran, tmp_path):
    cell = accuracy_cell(read_run(ran.folder))
    with pytest.raises(
        UsageError, match=r"whose trials have not chosen yet: name the run folder .* --set learning_rate"
    ):
        commands.plan(suite, out=tmp_path, cell=cell.id)


def test_one_tuned_cell_does_not_take_the_place_of_a_run_that_waits_for_its_choice(suite, ran, tmp_path):
    """The run was stopped between its last trial and its first cell."""
    folder = tmp_path / "run"
    shutil.copytree(ran.folder, folder)
    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps(content | {"cells": [], "waiting": 8}), encoding="utf-8")
    commands.run(suite, out=folder, cell=accuracy_cell(read_run(ran.folder)).id)
    assert len(read_run(folder).trials) == 12


def test_trials_of_another_source_of_the_normalizer_choose_nothing(suite, ran, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(ran.folder, folder)
    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert content["sources"].keys() == {"batch_norm", "group_norm"}
    content["sources"]["batch_norm"] = "0123456789ab"
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
    run = read_run(folder)
    assert {choice.cell.settings.normalizer for choice in run.choices().values()} == {"group_norm"}
    assert commands.status(folder).trials == (9, 3)


def test_the_command_line_tries_other_values_and_records_say_so(suite):
    plan = commands.plan(suite, tune={"learning_rate": "0.05,0.2"})
    assert {trial.settings.learning_rate for trial in plan.trials} == {0.05, 0.2}
    assert plan.untuned == ""
    told = plan.request.command(plan.trials[0].id)
    assert "--tune learning_rate=0.05,0.2" in told
    # what is set is not tuned, and a command with both would be refused
    assert "--tune" not in plan.request.command("abc", tuned={"learning_rate": "0.05"})


def test_without_tuning_the_plan_says_what_every_normalizer_gets_and_asks_no_claim_on_levels(suite, tmp_path):
    level = """
[[claims]]
id = "group_norm_wins"
says = "Group norm wins."
source = "made up"
metric = "test_accuracy"
plus = [{ normalizer = "group_norm", ranks = 20 }]
minus = [{ normalizer = "batch_norm", ranks = 20 }]
is = "higher"
"""
    file = tmp_path / "tuned.toml"
    file.write_text(SUITE + level, encoding="utf-8")
    off = commands.plan(str(file), tune="off")
    assert off.untuned == (
        "learning_rate is not tuned: every normalizer trains with 0.1; 1 claim on levels is not asked: group_norm_wins"
    )
    assert "--tune off" in off.request.command()
    assert not off.trials
    by_hand = commands.plan(str(file), settings={"learning_rate": "0.02,0.5"})
    assert by_hand.untuned.startswith("learning_rate is not tuned: every normalizer trains with 0.02, 0.5; 1 claim on")
    assert commands.plan(str(file)).untuned == ""
