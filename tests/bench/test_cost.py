"""What a plan costs: planted records with known times, a probe, and what was estimated held against what it took."""

from __future__ import annotations

import json

import pytest

from normzoo_bench import commands, planned
from normzoo_bench.cost import afterwards, probe
from normzoo_bench.cost.knowledge import Known
from normzoo_bench.cost.past import named, past_of
from normzoo_bench.cost.probe import Probed, kind
from normzoo_bench.cost.remember import remember
from normzoo_bench.cost.rule import Rule, between
from normzoo_bench.cost.tasks import TRAININGS, Tasks
from normzoo_bench.cost.work import work_of
from normzoo_bench.environment import environment
from normzoo_bench.errors import UsageError
from normzoo_bench.result import Result
from normzoo_bench.running.store import Store
from normzoo_bench.running.worker import Outcome
from normzoo_suites import Cell, Record, read_run
from normzoo_suites.settings import ThroughputSettings

HERE = environment()["cpu"]


def record(cell, seconds, chip=HERE, status="ok"):
    return Record(
        id=cell.id,
        suite="tiny",
        measure=cell.measure,
        settings=cell.settings.model_dump(),
        status=status,
        environment={"cpu": chip, "gpu": ""},
        seconds=seconds,
    )


@pytest.fixture
def training(settings):
    """A cell of 200 samples per epoch, changed as told."""
    return lambda **changes: Cell("accuracy", 1, settings(**{"train_samples": 200} | changes))


@pytest.fixture
def past():
    tasks = Tasks({})
    return lambda *records: past_of(records, tasks)


def predicted(known, cell):
    """Seconds and the words of the likeness, for a cell by itself."""
    (one,) = past_of([record(cell, 1.0)], Tasks({}))
    found = known.predict(one.task)
    return found and (pytest.approx(found[0]), found[1].words)


def test_another_seed_of_the_same_cell_takes_as_long(training, past):
    known = Known(past(*(record(training(seed=seed), 2.0) for seed in range(3)), record(training(epochs=9), 90.0)))
    assert predicted(known, training(seed=7)) == (2.0, "the same but for the seed")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 5}, "the same data, model and normalizer"),
        ({"epochs": 5, "dataset": "cifar10"}, "the same model and normalizer"),
        ({"epochs": 5, "normalizer": "none"}, "the same model"),
        ({"epochs": 5, "normalizer": "none", "model": "vit"}, "other models"),
    ],
)
def test_a_training_takes_the_time_per_sample_of_the_most_similar_one(training, past, changes, words):
    """200 samples in 2 s: 1,000 samples in 10 s."""
    known = Known(past(record(training(), 2.0)))
    assert predicted(known, training(**changes)) == (10.0, words)


def test_the_nearest_likeness_alone_counts(training, past):
    known = Known(past(record(training(), 2.0), record(training(normalizer="none"), 40.0)))
    assert predicted(known, training(epochs=2)) == (4.0, "the same data, model and normalizer")


def test_a_last_partial_batch_is_not_trained_on_and_frozen_branches_are(training, past):
    """Of 219 samples 200 make whole batches of 40; 10 epochs and a branch of 2 are 12."""
    known = Known(past(record(training(), 2.0)))
    longer = training(train_samples=219, epochs=10, frozen_from=0.8, readings="all")
    assert predicted(known, longer)[0] == 12 * 2.0


def test_the_first_cell_of_a_worker_does_not_move_the_estimate(training, past):
    slow = record(training(seed=0), 60.0)
    known = Known(past(slow, *(record(training(seed=seed), 2.0) for seed in (1, 2, 3))))
    assert predicted(known, training(epochs=3))[0] == 6.0


def test_between_batch_sizes_a_step_and_a_sample_cost_what_they_cost(training, past):
    """A step costs 0.1 s and a sample 0.01 s: by batches of 10 and 100, those of 40 follow."""

    def seconds(size):
        return 200 / size * 0.1 + 200 * 0.01

    known = Known(past(*(record(training(batch_size=size), seconds(size)) for size in (10, 100))))
    assert predicted(known, training(batch_size=40, epochs=2))[0] == 2 * seconds(40)
    assert between({10: 3.0, 100: 1.0}, 1000) == 1.0
    assert between({10: 3.0, 100: 1.0}, 2) == 3.0


def test_trainings_started_as_processes_tell_nothing_of_those_that_are_not(training, past):
    known = Known(past(record(training(ranks=2, ranks_backend="process"), 9.0)))
    assert predicted(known, training(ranks=2)) is None


def test_records_of_a_cpu_tell_nothing_of_a_gpu_and_the_other_way_round(training, past):
    on_cpu, on_gpu = training(), training(device="cuda")
    planted = record(on_gpu, 0.1).model_copy(update={"environment": {"cpu": HERE, "gpu": environment()["gpu"]}})
    assert predicted(Known(past(record(on_cpu, 2.0))), on_gpu) is None
    assert predicted(Known(past(planted)), on_cpu) is None


def test_another_chip_counts_only_where_there_is_nothing_of_this_one_and_is_named(training, past):
    other = record(training(), 8.0, chip="Another CPU")
    assert predicted(Known(past(other)), training(seed=1)) == (
        8.0,
        "the same but for the seed, on other hardware: Another CPU",
    )
    both = Known(past(other, record(training(normalizer="none"), 2.0)))
    assert predicted(both, training(seed=1)) == (2.0, "the same model")


def test_what_failed_was_skipped_or_is_no_setting_any_more_tells_nothing(training, past):
    strange = record(training(), 2.0).model_copy(update={"settings": {"normalizer": "batch_norm", "colour": "red"}})
    skipped = record(training(), 0.0, status="skipped")
    assert past(record(training(), 2.0, status="timeout"), skipped, strange) == []


def test_records_that_were_measured_in_one_training_are_one_task_of_all_their_time(training, past):
    """Each has its share, the same number of seconds; another training of the same settings has another."""
    cells = [training(readings="all", eval_batch_size=size) for size in (0, 2, 4)]
    own = past(*(record(cell, 1.5) for cell in cells))
    assert [one.seconds for one in own] == [4.5]
    assert [one.seconds for one in past(record(cells[0], 1.5), record(cells[1], 1.25))] == [1.5, 1.25]


def layer(normalizer="batch_norm", **changes):
    return Cell(
        "throughput",
        1,
        ThroughputSettings.model_validate({"normalizer": normalizer, "shape": "8x4x4", "batch_size": 4} | changes),
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repeat": 3}, "the same but for the repeat"),
        ({"normalizer": "none"}, "the same but for repeat and normalizer"),
        ({"shape": "64x8x8"}, "the same kind of step"),
        ({"direction": "eval"}, "the same measure"),
    ],
)
def test_a_timed_cell_takes_as_long_as_the_most_similar_one(past, changes, words):
    assert predicted(Known(past(record(layer(), 4.0))), layer(**changes)) == (4.0, words)


def test_how_sure_an_estimate_is_was_tried_on_each_record_without_it(training, past):
    """Seeds took 1, 2 and 4 s. Each by the lower of the other two: 1 → 2, 2 → 1, 4 → 1."""
    rule = Rule(past(*(record(training(seed=seed), seconds) for seed, seconds in enumerate((1.0, 2.0, 4.0)))))
    errors = rule.errors("accuracy", "cpu", TRAININGS.index("the same but for the seed"))
    assert errors == pytest.approx([1.0, -0.5, -0.75])


def test_a_weak_likeness_is_tried_without_the_records_that_would_make_it_a_strong_one(training, past):
    """By the same model alone: batch norm's 2 s from none's 3 s, and the other way round; not from its other seed."""
    cells = [training(seed=0), training(seed=1), training(normalizer="none")]
    rule = Rule(past(*(record(cell, seconds) for cell, seconds in zip(cells, (2.0, 2.0, 3.0), strict=True))))
    assert rule.errors("accuracy", "cpu", TRAININGS.index("the same model")) == pytest.approx([0.5, 0.5, -1 / 3])


@pytest.fixture
def tiny_plan(tiny):
    return commands.plan(tiny)


def planted(folder, plan, seconds=2.0, cells=None, **how):
    """A run folder in which these cells have records."""
    (folder / "cells").mkdir(parents=True)
    for cell in plan.to_do() if cells is None else cells:
        (folder / "cells" / f"{cell.id}.json").write_text(record(cell, seconds, **how).to_json(), encoding="utf-8")
    content = {"schema": 1, "suite": plan.suite.to_json(), "cells": [cell.to_json() for cell in plan.cells]}
    content |= {"command": "normzoo run tiny"}
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_plan_adds_trainings_by_workers_and_what_is_timed_one_by_one(tiny, tiny_plan, tmp_path):
    """10 trainings of 2 s by 2 workers, and one layer of 2 s alone: 12 s."""
    planted(tmp_path / "before", tiny_plan)
    found = planned.look(tiny_plan, Store(tmp_path / "new"), jobs=2).estimate
    assert {row.measure: (row.cells, row.seconds, row.without) for row in found.rows} == {
        "accuracy": (10, 20.0, 0),
        "throughput": (1, 2.0, 0),
    }
    assert found.seconds == 12.0
    assert found.shares == dict.fromkeys((cell.id for cell in tiny_plan.to_do()), 2.0)


def test_records_come_from_this_folder_those_beside_it_and_those_that_are_named(tiny_plan, tmp_path):
    def known_in(folder, *also):
        return planned.look(tiny_plan, Store(folder), also=also).estimate.without

    far = planted(tmp_path / "elsewhere" / "far", tiny_plan)
    assert known_in(tmp_path / "runs" / "new") == 11
    assert known_in(tmp_path / "runs" / "new", *named([far])) == 0
    planted(tmp_path / "runs" / "old", tiny_plan)
    assert known_in(tmp_path / "runs" / "new") == 0
    with pytest.raises(UsageError, match=r"--from .*nothing: it is no run folder"):
        named([tmp_path / "nothing"])


def test_no_training_is_over_before_it_ends_however_many_workers_there_are(tiny, tiny_plan, tmp_path):
    planted(tmp_path / "before", tiny_plan)
    assert planned.look(tiny_plan, Store(tmp_path / "new"), jobs=100).estimate.seconds == 2.0 + 2.0


def test_cells_that_share_one_training_cost_it_once(tiny, tmp_path):
    plan = commands.plan(tiny, settings={"readings": "all", "eval_batch_size": "0,2,4", "ranks": "1"}, seeds=1)
    first = next(cell for cell in plan.cells if cell.measure == "accuracy")
    alone = commands.plan(tiny, settings={"ranks": "1"}, seeds=1)
    planted(tmp_path / "before", alone)
    found = planned.look(plan, Store(tmp_path / "new"), jobs=1).estimate
    (row,) = [row for row in found.rows if row.measure == "accuracy"]
    assert row.cells == 2 * 3
    assert row.seconds == pytest.approx(2 * 2.0)
    assert found.shares[first.id] == pytest.approx(2.0 / 3)


def test_cells_that_wait_for_their_tuning_are_counted(tiny, tmp_path):
    plan = commands.plan(tiny, tune={"learning_rate": "0.05,0.1"}, normalizers=["batch_norm"], settings={"ranks": "1"})
    planted(tmp_path / "before", commands.plan(tiny, normalizers=["batch_norm"], settings={"ranks": "1"}))
    found = planned.look(plan, Store(tmp_path / "new"), jobs=1).estimate
    (row,) = [row for row in found.rows if row.measure == "accuracy"]
    assert plan.waiting == 2
    assert row.cells == 2 + 2  # trials and results
    assert row.seconds == pytest.approx(4 * 2.0)


# ---- a probe


def made_up(once, sample):
    """Outcomes of which each costs so much at once, and for every sample; and what was asked."""
    asked = []

    def outcomes(plan, cells, options):
        for cell in sorted(cells, key=lambda cell: cell.measure == "throughput"):  # timed cells last
            asked.append(cell)
            samples = Tasks(plan.sources).task(cell.measure, cell.settings, frozenset()).samples
            yield cell, Outcome("ok", "", Result({}), {}, once + sample * samples)

    return outcomes, asked


def test_a_probe_tells_what_a_training_costs_once_from_what_each_sample_costs(tiny, monkeypatch):
    plan = commands.plan(tiny, settings={"epochs": "50"})
    work = work_of(plan, [])
    outcomes, asked = made_up(once=3.0, sample=0.001)
    monkeypatch.setattr(probe, "outcomes", outcomes)
    found = probe.probe(plan, work, 60)
    (one, *_) = [one for one in work if one.task.measure == "accuracy"]
    assert found.predict(one.task) == pytest.approx(3.0 + 0.001 * 200 * 50)
    assert max(cell.settings.epochs for cell in asked if cell.measure == "accuracy") == 3
    assert {cell.settings.normalizer for cell in asked} == {"batch_norm", "group_norm"}
    assert sum(cell.measure == "throughput" for cell in asked) == 1  # as it is, once
    assert len(asked) == 1 + 2 * 2 + 1  # a worker's first training, of each normalizer two, one layer


def test_a_probe_stops_when_its_time_is_over_and_says_how_much_is_left(tiny, monkeypatch):
    plan = commands.plan(tiny)
    outcomes, asked = made_up(once=1.0, sample=0.001)
    monkeypatch.setattr(probe, "outcomes", outcomes)
    clock = iter(range(0, 100_000, 10))
    monkeypatch.setattr(probe.time, "monotonic", lambda: next(clock))
    found = probe.probe(plan, work_of(plan, []), 40)
    assert len(asked) == 4  # after 40 s of which 30 are for beginning
    assert found.left == 2
    assert len(found.costs) == 1


def test_what_fails_in_a_probe_has_no_estimate_and_a_reason(tiny, monkeypatch):
    def outcomes(plan, cells, options):
        for cell in cells:
            yield cell, Outcome("timeout", "killed after 15 s", Result({}), {}, 15.0)

    monkeypatch.setattr(probe, "outcomes", outcomes)
    plan = commands.plan(tiny, normalizers=["batch_norm"])
    found = probe.probe(plan, work_of(plan, []), 60)
    assert not found.costs
    assert "batch_norm (accuracy, mlp): timeout: killed after 15 s" in found.faults


def test_a_probe_is_asked_only_of_what_records_do_not_tell_well_and_then_counts_before_them(tiny, tmp_path):
    plan = commands.plan(tiny, settings={"ranks": "1"}, seeds=1)
    known = [cell for cell in plan.to_do() if cell.settings.normalizer == "batch_norm"]
    planted(tmp_path / "before", plan, cells=known)
    asked = []

    def probing(plan, work):
        asked.extend(one.task for one in work)
        return Probed({kind(one.task): {1: (7.0, 0.0)} for one in work})

    found = planned.look(plan, Store(tmp_path / "new"), jobs=1, probing=probing).estimate
    assert {(task.measure, task.settings.normalizer) for task in asked} == {
        ("accuracy", "group_norm"),
        ("throughput", "group_norm"),
    }
    assert {row.measure: (row.seconds, [basis.words for basis in row.bases]) for row in found.rows} == {
        "accuracy": (2.0 + 7.0, ["the same but for the seed", "a probe"]),
        "throughput": (7.0, ["a probe"]),
    }


@pytest.mark.slow
def test_a_real_probe_estimates_every_kind_and_writes_nothing(tiny, tmp_path):
    plan = commands.plan(tiny, settings={"ranks": "1"}, seeds=1, normalizers=["batch_norm"])
    folder = tmp_path / "run"
    found = planned.look(plan, Store(folder), probing=lambda plan, work: probe.probe(plan, work, 120)).estimate
    assert found.without == 0
    assert all(row.seconds > 0 for row in found.rows)
    assert not folder.exists()


# ---- afterwards


def test_what_was_estimated_is_held_against_what_it_took(tiny, tiny_plan, tmp_path):
    planted(tmp_path / "before", tiny_plan, seconds=2.0)
    folder = planted(tmp_path / "run", tiny_plan, cells=[])
    remember(tiny_plan, Store(folder))
    assert afterwards.took(read_run(folder)) is None  # nothing is measured yet
    for cell in tiny_plan.to_do()[:5]:
        (folder / "cells" / f"{cell.id}.json").write_text(record(cell, 3.0).to_json(), encoding="utf-8")
    found = commands.status(folder).took
    assert (found.cells, found.estimated, found.took, found.error) == (5, 10.0, 15.0, 0.5)


def test_a_run_that_goes_on_keeps_what_was_estimated_before_and_tells_its_own_cells_apart(tiny_plan, tmp_path):
    planted(tmp_path / "before", tiny_plan, seconds=2.0)
    folder = planted(tmp_path / "run", tiny_plan, cells=[])
    remember(tiny_plan, Store(folder))
    first, second = [cell for cell in tiny_plan.to_do() if cell.measure == "accuracy"][:2]
    write = (folder / "cells").joinpath
    write(f"{first.id}.json").write_text(record(first, 4.0).to_json(), encoding="utf-8")
    (tmp_path / "before" / "run.json").unlink()  # what is known now is the one record here
    resumed = commands.plan(str(tiny_plan.request.suite))
    store = Store(folder)
    store.finished = lambda plan, retry, among=None: ({first.id: record(first, 4.0)} if among is None else {}, {})
    remember(resumed, store)
    write(f"{second.id}.json").write_text(record(second, 4.0).to_json(), encoding="utf-8")
    whole, latest = afterwards.took(read_run(folder)), afterwards.took(read_run(folder), own=True)
    assert whole.cells == 2
    assert whole.estimated == 2.0 + latest.estimated
    assert latest.cells == 1


def test_a_run_of_which_nothing_was_known_is_not_held_against_what_an_earlier_one_estimated(tiny_plan, tmp_path):
    planted(tmp_path / "before", tiny_plan, seconds=2.0)
    folder = planted(tmp_path / "run", tiny_plan, cells=[])
    remember(tiny_plan, Store(folder))
    (tmp_path / "before" / "run.json").unlink()
    remember(tiny_plan, Store(folder))
    cell = tiny_plan.to_do()[0]
    (folder / "cells" / f"{cell.id}.json").write_text(record(cell, 4.0).to_json(), encoding="utf-8")
    assert afterwards.took(read_run(folder)).estimated == 2.0
    assert afterwards.took(read_run(folder), own=True) is None


def test_a_record_that_will_be_replaced_is_not_what_was_estimated(tiny_plan, tmp_path):
    folder = planted(tmp_path / "run", tiny_plan)
    text = afterwards.begin(folder, {tiny_plan.to_do()[0].id: 5.0}, read_run(folder).records)
    (folder / afterwards.FILE).write_text(text, encoding="utf-8")
    assert afterwards.took(read_run(folder)) is None


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1, "runs": 1, "cells": {"a": 3}}', '{"cells": {}}'])
def test_a_damaged_estimate_is_none(tiny_plan, tmp_path, text):
    folder = planted(tmp_path / "run", tiny_plan)
    (folder / afterwards.FILE).write_text(text, encoding="utf-8")
    assert commands.status(folder).took is None


def test_a_tuned_cell_is_found_by_what_it_was_before_its_tuning(tiny):
    plan = commands.plan(tiny, tune={"learning_rate": "0.05,0.1"}, seeds=1)
    draft = next(cell for cell in plan.suite.cells() if cell.measure == "accuracy")
    tuned = Cell("accuracy", 1, draft.settings.model_copy(update={"learning_rate": 0.05}))
    assert afterwards.draft_id(plan.suite, tuned) == draft.id != tuned.id
    assert afterwards.draft_id(commands.plan(tiny).suite, tuned) == tuned.id


def test_a_shard_costs_its_own_cells_and_all_shards_together_the_whole(tiny, tmp_path):
    whole = commands.plan(tiny)
    planted(tmp_path / "before", whole)
    shards = [commands.plan(tiny, shard=f"{number}/3") for number in (1, 2, 3)]
    found = [planned.look(one, Store(tmp_path / "new"), jobs=1).estimate.shares for one in shards]
    assert sorted(one for shares in found for one in shares) == sorted(cell.id for cell in whole.to_do())
