"""Tuning: which trials there are, what they choose, and what a suite may ask of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from normzoo_suites import Cell, Record, Suite, SuiteError, change_suite, parse_suite
from normzoo_suites.selection import choose, condition, edge_warnings, lost_warnings, resolve, trials
from normzoo_suites.tune import told_untuned

TUNED = """
name = "tuned"
question = "What?"
protocol = 1

[select]
seeds = 2
fixed = { epochs = 1 }
[select.grid]
learning_rate = [0.1, 0.03, 0.3]

[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 3, batch_size = 40, readings = "all" }
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
ranks = [1, 20]
eval_batch_size = [0, 8]
seed = 3

[[claims]]
id = "group_norm_wins"
says = "Group norm wins."
source = "made up"
metric = "test_accuracy"
plus = [{ normalizer = "group_norm", ranks = 20, eval_batch_size = 0 }]
minus = [{ normalizer = "batch_norm", ranks = 20, eval_batch_size = 0 }]
is = "higher"
"""


@pytest.fixture
def tuned() -> Suite:
    return parse_suite(TUNED, "tuned.toml")


def spoiled(old: str, new: str) -> str:
    assert old in TUNED
    with pytest.raises(SuiteError) as caught:
        parse_suite(TUNED.replace(old, new, 1), "tuned.toml")
    return str(caught.value)


def made(suite: Suite) -> list[Cell]:
    assert suite.select is not None
    return trials(suite.select, suite.cells())


def recorded(
    suite: Suite, score: Callable[[Mapping[str, object]], float | None], status: str = "ok"
) -> dict[str, Record]:
    """Give a record for each trial whose score is not None."""
    found = {}
    for trial in made(suite):
        settings = trial.settings.model_dump()
        value = score(settings)
        if value is not None:
            metrics = {"validation_accuracy": value, "chance_accuracy": 0.1}
            found[trial.id] = Record(
                id=trial.id, suite="tuned", measure="accuracy", settings=settings, status=status, metrics=metrics
            )
    return found


def chosen(suite: Suite, records: Mapping[str, Record]) -> dict[tuple[object, object], object]:
    assert suite.select is not None
    found = choose(suite.select, suite.cells(), records)
    return {
        (one.cell.settings.normalizer, getattr(one.cell.settings, "ranks", None)): (one.chosen or {}).get(
            "learning_rate"
        )
        for one in found.values()
    }


def test_every_condition_gets_the_same_grid_seeds_and_budget(tuned: Suite) -> None:
    found: dict[tuple[object, object], list[tuple[object, ...]]] = {}
    for trial in made(tuned):
        s = trial.settings.model_dump()
        found.setdefault((s["normalizer"], s["ranks"]), []).append((s["learning_rate"], s["seed"], s["epochs"]))
    assert len(found) == 4
    grid = [(rate, seed, 1) for seed in (100, 101) for rate in (0.1, 0.03, 0.3)]
    assert all(sorted(one) == sorted(grid) for one in found.values())


def test_trials_are_scored_on_validation_and_read_no_more_than_they_need(tuned: Suite) -> None:
    for trial in made(tuned):
        told = trial.settings.model_dump()
        assert (told["evaluate_on"], told["readings"], told["eval_batch_size"]) == ("validation", "running", 0)


def test_how_a_net_is_read_is_no_condition_of_its_own(tuned: Suite) -> None:
    assert tuned.select is not None
    assert len(tuned.cells()) == 2 * 2 * 2 * 3
    assert len({condition(tuned.select, cell) for cell in tuned.cells()}) == 4


def test_the_best_mean_over_seeds_is_chosen_for_each_condition_by_itself(tuned: Suite) -> None:
    best = {("batch_norm", 1): 0.3, ("batch_norm", 20): 0.03, ("group_norm", 1): 0.1, ("group_norm", 20): 0.1}

    def score(s: Mapping[str, object]) -> float:
        # the best by mean, though another rate has the best single seed
        lucky = 0.15 if s["seed"] == 100 and s["learning_rate"] != best[s["normalizer"], s["ranks"]] else 0.0
        return 0.8 if s["learning_rate"] == best[s["normalizer"], s["ranks"]] else 0.7 + lucky

    assert chosen(tuned, recorded(tuned, score)) == best


def test_of_equals_the_first_is_chosen(tuned: Suite) -> None:
    assert set(chosen(tuned, recorded(tuned, lambda _: 0.5)).values()) == {0.1}


def test_of_equals_the_one_with_the_lower_validation_loss_is_chosen(tuned: Suite) -> None:
    records = recorded(tuned, lambda _: 0.5)
    for key, record in records.items():
        loss = {0.1: 0.9, 0.03: 0.2, 0.3: 0.5}[record.settings["learning_rate"]]
        records[key] = record.model_copy(update={"metrics": record.metrics | {"validation_loss": loss}})
    assert set(chosen(tuned, records).values()) == {0.03}
    assert tuned.select is not None
    # an inner value, 0.1, is as good: nothing says that the optimum lies beyond
    assert edge_warnings(choose(tuned.select, tuned.cells(), records).values()) == []


def test_a_trial_never_trains_longer_than_what_it_tunes() -> None:
    suite = parse_suite(TUNED.replace("fixed = { epochs = 1 }", "fixed = { epochs = 9 }"), "tuned.toml")
    assert {getattr(trial.settings, "epochs", None) for trial in made(suite)} == {3}


def test_a_condition_with_a_trial_missing_has_no_choice_yet(tuned: Suite) -> None:
    records = recorded(tuned, lambda s: None if s["normalizer"] == "batch_norm" and s["seed"] == 101 else 0.5)
    assert {name for name, _ in chosen(tuned, records)} == {"group_norm"}


def test_a_diverged_trial_counts_with_chance_and_a_crashed_one_is_not_chosen(tuned: Suite) -> None:
    records = recorded(tuned, lambda s: 0.05 if s["learning_rate"] == 0.03 else 0.9)
    for key, record in list(records.items()):
        if record.settings["learning_rate"] != 0.03:
            status = "diverged" if record.settings["learning_rate"] == 0.1 else "crashed"
            records[key] = record.model_copy(update={"status": status})
    assert set(chosen(tuned, records).values()) == {0.1}  # chance, 0.1, is better than 0.05


def test_where_no_trial_has_a_score_the_cells_cannot_run_and_say_so(tuned: Suite) -> None:
    assert tuned.select is not None
    choices = choose(tuned.select, tuned.cells(), recorded(tuned, lambda _: 0.5, status="error"))
    cells = resolve(tuned.select, tuned.cells(), choices)
    assert {cell.skip for cell in cells} == {"not one trial that should tune it ended with a score"}


def test_resolved_cells_hold_what_was_chosen_and_others_wait(tuned: Suite) -> None:
    assert tuned.select is not None
    records = recorded(tuned, lambda s: None if s["normalizer"] == "batch_norm" else float(s["learning_rate"] == 0.3))
    cells = resolve(tuned.select, tuned.cells(), choose(tuned.select, tuned.cells(), records))
    assert len(cells) == 2 * 2 * 3
    assert {getattr(cell.settings, "learning_rate", None) for cell in cells} == {0.3}


def test_a_choice_on_the_edge_of_the_grid_is_warned_of_whatever_its_order(tuned: Suite) -> None:
    assert tuned.select is not None
    for best, warned in ((0.3, True), (0.03, True), (0.1, False)):
        records = recorded(tuned, lambda s, best=best: float(s["learning_rate"] == best))
        lines = edge_warnings(choose(tuned.select, tuned.cells(), records).values())
        assert bool(lines) == warned
        assert not warned or f"learning_rate = {best} is the best and lies on the edge" in lines[0]


def test_rates_by_the_linear_rule_have_edges_too_and_texts_have_none(tuned: Suite) -> None:
    linear = '["linear(rate=0.1, per=40)", "linear(rate=0.3, per=40)", "linear(rate=0.2, per=40)"]'
    suite = parse_suite(TUNED.replace("[0.1, 0.03, 0.3]", linear), "tuned.toml")
    records = recorded(suite, lambda s: float("0.3" in str(s["learning_rate"])))
    assert suite.select is not None
    assert all(one.edges == ("learning_rate",) for one in choose(suite.select, suite.cells(), records).values())
    suite = parse_suite(TUNED.replace("learning_rate = [0.1, 0.03, 0.3]", 'optimizer = ["sgd", "adamw"]'), "tuned.toml")
    assert suite.select is not None
    found = choose(suite.select, suite.cells(), recorded(suite, lambda s: float(s["optimizer"] == "sgd")))
    assert all(one.edges == () for one in found.values())


def test_setting_what_is_tuned_switches_tuning_off_and_anything_else_does_not(tuned: Suite) -> None:
    assert change_suite(tuned, {"learning_rate": "0.2"}).select is None
    changed = change_suite(tuned, {"ranks": "1"})
    assert changed.select == tuned.select


def test_of_two_that_are_tuned_the_one_that_is_set_is_tuned_no_more() -> None:
    text = TUNED.replace("[select.grid]", "[select.grid]\nweight_decay = [0.0, 0.1]")
    changed = change_suite(parse_suite(text, "tuned.toml"), {"learning_rate": "0.2"})
    assert changed.select is not None
    assert list(changed.select.grid) == ["weight_decay"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "seeds = 2",
            'metric = "test_accuracy"',
            "line 7: [select] chooses by 'test_accuracy', which no trial produces",
        ),
        ("seeds = 2", "sedes = 2", "line 7: unknown key 'sedes' in select; did you mean 'seeds'?"),
        ("seeds = 2", "seeds = 0", "select.seeds: must be greater than or equal to 1, got 0"),
        ("[0.1, 0.03, 0.3]", "[0.1, 0.1]", "[select] tries fewer than two values of learning_rate"),
        ("[0.1, 0.03, 0.3]", "[0.1, -1.0]", "learning_rate: must be a number above 0"),
        ("learning_rate = [", "lerning_rate = [", "unknown setting 'lerning_rate' of accuracy; did you mean"),
        (
            "learning_rate = [0.1, 0.03, 0.3]",
            'normalizer = ["none", "group_norm"]',
            "[select] cannot change normalizer",
        ),
        ("fixed = { epochs = 1 }", "fixed = { seed = 1 }", "[select] cannot change seed"),
        ("[0.1, 0.03, 0.3]", "[0.1, 1e-1, 0.3]", "[select] tries a value of learning_rate twice"),
        ("learning_rate = [0.1, 0.03, 0.3]", "ema = [0.0, 0.9]", "cannot try ema: no trial's score depends on it"),
        (
            "ranks = 20, eval_batch_size = 0 }]\nminus",
            "ranks = 20, learning_rate = 0.1, eval_batch_size = 0 }]\nminus",
            "names learning_rate, which [select] chooses",
        ),
        ("fixed = { epochs = 1 }", "fixed = { learning_rate = 1 }", "both tried and fixed in [select]; keep one"),
        ("epochs = 3", "epochs = 3, learning_rate = 0.1", "learning_rate is tuned by [select] and set here; keep one"),
        ("seed = 3", "seed = [7, 100]", "seed 100 is kept for the trials of [select], which begin at 100"),
        (
            "fixed = { epochs = 1 }",
            "fixed = { warmup_epochs = 7 }",
            "a cell that [select] tunes, or its trial, cannot be: warmup_epochs must",
        ),
        (
            "fixed = { epochs = 1 }",
            "fixed = { ranks = 7 }",
            "a cell that [select] tunes, or its trial, cannot be: ranks must divide batch_size",
        ),
    ],
)
def test_a_tuning_that_cannot_be_is_told_before_anything_is_trained(old: str, new: str, said: str) -> None:
    assert said in spoiled(old, new)


def test_a_suite_without_trainings_has_nothing_to_tune() -> None:
    grid = TUNED[TUNED.index("[[grids]]") : TUNED.index("[[claims]]")]
    timed = '[[grids]]\nmeasure = "throughput"\nfixed = { normalizer = "none", shape = "8", batch_size = 4 }\n'
    text = TUNED.replace(grid, timed)
    with pytest.raises(SuiteError, match="tunes trainings, and no grid of this suite measures accuracy"):
        parse_suite(text[: text.index("[[claims]]")], "tuned.toml")


def test_levels_are_compared_only_where_every_side_was_tuned(tuned: Suite) -> None:
    assert tuned.claims[0].compares_levels
    without = TUNED[: TUNED.index("[select]")] + TUNED[TUNED.index("[[grids]]") :]
    with pytest.raises(SuiteError, match="compares levels of different normalizers at one common learning rate"):
        parse_suite(without, "tuned.toml")


def test_a_rate_whose_trials_all_diverged_or_failed_is_warned_of_and_one_of_which_a_seed_diverged_is_not(
    tuned: Suite,
) -> None:
    assert tuned.select is not None
    ends = {(0.3, 100): "diverged", (0.3, 101): "diverged", (0.03, 100): "crashed", (0.1, 100): "diverged"}
    records = recorded(tuned, lambda _: 0.5)
    for key, record in records.items():
        told = record.settings
        if told["normalizer"] == "batch_norm" and told["ranks"] == 20:
            status = ends.get((told["learning_rate"], told["seed"]), "ok")
            records[key] = record.model_copy(update={"status": status})
    choices = choose(tuned.select, tuned.cells(), records).values()
    lost = {(one.cell.settings.normalizer, str(point)) for one in choices for point in one.lost}
    assert lost == {("batch_norm", "{'learning_rate': 0.03}"), ("batch_norm", "{'learning_rate': 0.3}")}
    assert [line.partition(" has no score")[0] for line in lost_warnings(choices)] == [
        "learning_rate = 0.03",
        "learning_rate = 0.3",
    ]
    assert all("for batch_norm: nothing is known of it" in line for line in lost_warnings(choices))


def test_what_only_reads_a_trained_net_asks_for_no_trials_of_its_own(tuned: Suite) -> None:
    streams = change_suite(tuned, {"stream": "iid,class_ordered", "probe": "none,leak", "corruption": "none,blur"})
    assert len(streams.cells()) == 8 * len(tuned.cells())
    assert [trial.id for trial in made(streams)] == [trial.id for trial in made(tuned)]


def test_the_command_line_replaces_what_is_tried(tuned: Suite) -> None:
    changed = change_suite(tuned, tune={"learning_rate": "0.5,5e-2"}).select
    assert changed is not None
    assert changed.grid == {"learning_rate": [0.5, 0.05]}
    assert (changed.seeds, changed.fixed) == (2, {"epochs": 1})


def test_the_command_line_tunes_what_a_suite_sets(small: Suite) -> None:
    fixed = change_suite(small, {"learning_rate": "0.3"})
    changed = change_suite(fixed, tune={"learning_rate": "0.1,0.5"})
    assert {getattr(trial.settings, "learning_rate", None) for trial in made(changed)} == {0.1, 0.5}


def test_tuning_is_switched_off_by_a_word_and_the_default_is_trained_with(tuned: Suite) -> None:
    changed = change_suite(tuned, tune="off")
    assert changed.select is None
    assert {getattr(cell.settings, "learning_rate", None) for cell in changed.cells()} == {0.1}


def test_what_is_tuned_no_more_is_said_with_the_claims_that_are_not_asked(tuned: Suite) -> None:
    assert told_untuned(tuned, change_suite(tuned, {"ranks": "1"})) == ""
    assert told_untuned(tuned, change_suite(tuned, tune={"learning_rate": "1,2"})) == ""
    assert told_untuned(tuned, change_suite(tuned, {"learning_rate": "0.2"})) == (
        "learning_rate is not tuned: every normalizer trains with 0.2; 1 claim on levels is not asked: group_norm_wins"
    )


def test_a_claim_on_levels_stands_while_anything_is_tuned() -> None:
    text = TUNED.replace("[select.grid]", "[select.grid]\nweight_decay = [0.0, 0.1]")
    suite = parse_suite(text, "tuned.toml")
    said = told_untuned(suite, change_suite(suite, {"learning_rate": "0.2"}))
    assert said == "learning_rate is not tuned: every normalizer trains with 0.2"
