"""Tuning on the page: what was tried, what was chosen, what stands on an edge, and what waits."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import Pivot, report, summary
from normzoo_reports.drawing.figures import show_figure
from normzoo_reports.findings.tuning import Tried, Tuning, tuning
from normzoo_reports.load import load_frame
from normzoo_suites import Cell, Figure, Suite, SuiteError, change_suite, read_run

EDGE = "In 2 of 4 tuned conditions the best learning_rate is the smallest or the largest that was tried"


def tuning_of(folder: Path) -> Tuning:
    found = tuning(read_run(folder))
    assert found is not None
    return found


def tried(folder: Path) -> dict[tuple[str, str], Tried]:
    return {(row.normalizer, row.condition): row for row in tuning_of(folder).rows}


def accuracy_of(folder: Path) -> Pivot:
    found = summary(folder).accuracy
    assert found is not None
    return found


def scored(value: float | None, **told: Any) -> dict[str, Any]:
    metrics = {} if value is None else {"validation_accuracy": value, "validation_loss": 1 - value}
    return {"metrics": metrics | {"chance_accuracy": 0.1}} | told


def test_every_value_that_was_tried_has_its_mean_score(tuned_page: Path) -> None:
    """Trials with seeds 100 and 101 score 0.001 apart."""
    row = tried(tuned_page.parent)["group_norm", "ranks 1 (40 each)"]
    assert [score.text for score in row.scores] == ["85.0 %", "90.1 %", "80.0 %", "60.1 %"]
    assert tuning_of(tuned_page.parent).points == ("0.05", "0.1", "0.2", "0.4")


def test_the_chosen_value_is_marked_and_only_it(tuned_page: Path) -> None:
    row = tried(tuned_page.parent)["group_norm", "ranks 1 (40 each)"]
    assert [score.chosen for score in row.scores] == [False, True, False, False]
    assert row.scores[1].notes == ("chosen",)
    assert re.search("<b><a [^>]*>90.1 %</a></b><small>chosen</small>", tuned_page.read_text(encoding="utf-8"))


def test_a_choice_on_the_edge_is_warned_of_with_the_end_that_it_stands_at(tuned_page: Path) -> None:
    assert tuning_of(tuned_page.parent).edges == (
        "The best learning_rate is the largest tried, 0.4, for batch_norm at ranks 1 (40 each), ranks 20 (2 each): "
        "the optimum may lie beyond.",
    )
    assert tried(tuned_page.parent)["batch_norm", "ranks 1 (40 each)"].scores[3].notes == (
        "chosen",
        "the largest tried",
    )


def test_a_choice_at_the_other_end_is_called_the_smallest(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    run = make_tuned_run(tuned(1), trial=lambda one: scored(1 - one.settings.model_dump()["learning_rate"]))
    assert all("the smallest tried, 0.05" in line for line in tuning_of(run).edges)


def test_the_first_screen_says_how_many_choices_stand_on_an_edge(tuned_page: Path) -> None:
    assert summary(tuned_page.parent).tuning == (f"{EDGE}: the optimum may lie beyond.",)
    assert EDGE in tuned_page.read_text(encoding="utf-8").partition("</header>")[0]


def test_without_a_choice_on_an_edge_nothing_is_warned_of(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    run = make_tuned_run(tuned(1), trial=lambda one: scored(1 - abs(one.settings.model_dump()["learning_rate"] - 0.1)))
    assert summary(run).tuning == ()
    assert tuning_of(run).edges == ()


def test_the_budget_of_a_trial_is_told(tuned_page: Path) -> None:
    how = tuning_of(tuned_page.parent).how
    assert "learning_rate = 0.05, 0.1, 0.2, 0.4" in how
    assert "the same 8 trials, with seeds 100 to 101, which no result uses" in how
    assert "with epochs = 5, on a part of the training part, and scored by validation accuracy on the rest" in how


def test_a_loss_is_shown_as_it_was_measured_and_the_lowest_is_chosen(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    suite = tuned(1)
    assert suite.select is not None
    by_loss = suite.model_copy(update={"select": suite.select.model_copy(update={"metric": "validation_loss"})})
    row = tried(make_tuned_run(by_loss))["group_norm", "ranks 1 (40 each)"]
    assert [(score.text, score.chosen) for score in row.scores] == [
        ("0.1495", False), ("0.0995", True), ("0.1995", False), ("0.3995", False),
    ]  # fmt: skip


def test_a_trial_without_a_score_is_named_with_its_reason(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    def trial(one: Cell) -> dict[str, Any]:
        settings = one.settings.model_dump()
        broken = (settings["normalizer"], settings["ranks"], settings["learning_rate"]) == ("batch_norm", 20, 0.4)
        return scored(None, status="crashed", reason="it broke") if broken else scored(0.9)

    run = make_tuned_run(tuned(1), trial=trial)
    row = tried(run)["batch_norm", "ranks 20 (2 each)"]
    assert [score.text for score in row.scores] == ["90.0 %", "90.0 %", "90.0 %", "crashed (2)"]
    assert tuning_of(run).failed == ("crashed: it broke: batch_norm, ranks 20 (2 each), learning_rate 0.4",)
    assert "crashed: it broke" in report(run).read_text(encoding="utf-8")


def test_a_diverged_trial_is_said_to_count_as_chance(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    def trial(one: Cell) -> dict[str, Any]:
        settings = one.settings.model_dump()
        gone = settings["learning_rate"] == 0.4 and settings["seed"] == 100
        return scored(None, status="diverged", reason="not finite") if gone else scored(0.9)

    last = tried(make_tuned_run(tuned(1), trial=trial))["group_norm", "ranks 1 (40 each)"].scores[3]
    assert (last.text, last.notes) == ("50.0 %", ("1 diverged, counted as chance",))


def only_batch_norm(one: Cell) -> dict[str, Any] | None:
    return scored(0.9) if one.settings.normalizer == "batch_norm" else None


def test_cells_that_wait_are_counted_shown_and_not_dropped(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    run = make_tuned_run(tuned(8), trial=only_batch_norm)
    found = summary(run)
    assert found.statuses == {"ok": 16, "waiting": 16}
    assert "16 cells wait for the choice of learning_rate: 16 of 32 trials measured." in found.tuning[-1]
    assert dict(accuracy_of(run).rows)["group_norm"] == ("waiting (8)", "waiting (8)")
    assert tried(run)["group_norm", "ranks 1 (40 each)"].state == "not chosen yet: 0 of 8 trials measured"


def test_a_claim_whose_cells_wait_is_missing_pairs_and_not_unasked(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    verdict = summary(make_tuned_run(tuned(8), trial=only_batch_norm)).verdicts[0]
    assert (verdict.outcome, verdict.reason) == ("inconclusive", "8 pairs missing")
    assert verdict.missing == ("group_norm: waiting for the tuning (seed 0 to 7)",)


def test_a_waiting_cell_has_no_address_and_no_command(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    """The id under which it will be measured depends on what is chosen."""
    run = make_tuned_run(tuned(2), trial=only_batch_norm)
    page = report(run).read_text(encoding="utf-8")
    assert len(read_run(run).cells) == 4
    assert page.count('id="cell-') == 4 + len(read_run(run).trials)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))


def test_a_run_of_trials_alone_is_a_page(make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]) -> None:
    run = make_tuned_run(tuned(2), trial=lambda one: scored(0.9) if one.settings.model_dump()["seed"] == 100 else None)
    page = report(run).read_text(encoding="utf-8")
    assert "8 cells: 8 waiting for the tuning." in page
    assert page.count("not chosen yet: 4 of 8 trials measured") == 4
    assert "some processor" in page


def test_a_run_folder_without_any_cell_is_a_suite_error(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    run = make_tuned_run(tuned(1), stands=lambda cell: False)
    content = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(content | {"waiting": 0}))
    with pytest.raises(SuiteError, match="has no record to report"):
        report(run)


def test_a_chosen_value_tells_no_conditions_apart(tuned_page: Path) -> None:
    """Batch norm trains at 0.4 and group norm at 0.1, and both stand in one column."""
    run = read_run(tuned_page.parent)
    assert {cell.settings.model_dump()["learning_rate"] for cell in run.cells} == {0.1, 0.4}
    assert accuracy_of(tuned_page.parent).columns == ("ranks 1 (40 each)", "ranks 20 (2 each)")


def test_a_figure_over_tuned_cells_keeps_its_intervals(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    """With a colour per rank, the two normalizers of a mark have other learning rates."""
    figure = Figure(kind="bar", x="normalizer", y="test_accuracy", hue="ranks")
    run = read_run(make_tuned_run(tuned(6)))
    caption = show_figure(figure, run, load_frame(run)).caption
    assert caption.startswith("Marks are means over seeds")
    lumping = Figure(kind="bar", x="batch_size", y="test_accuracy", hue="ranks")
    assert "learning_rate" not in show_figure(lumping, run, load_frame(run)).caption


def test_a_cells_own_settings_hold_what_was_chosen_for_it(tuned_page: Path) -> None:
    page = tuned_page.read_text(encoding="utf-8")
    again = page.partition('id="reproduce"')[2].partition("<h3>trials</h3>")[0]
    assert again.count("<span>learning_rate <b>0.4</b></span>") == 2
    assert again.count("<span>learning_rate <b>0.1</b></span>") == 2
    assert "<summary>batch_norm, ranks 1 (40 each) <" in again


def test_the_line_of_settings_says_tuned_in_place_of_a_learning_rate(tuned_page: Path) -> None:
    line = re.search("Measured: (.*?)</p>", tuned_page.read_text(encoding="utf-8"))
    assert line is not None
    assert line[1].startswith("mlp on digits, 10 epochs, batches of 40, 1 or 20 ranks, tuned learning rate, 8 seeds; ")


def test_with_tuning_levels_are_said_to_be_comparable(tuned_page: Path, quick_page: Path) -> None:
    assert "tuned under one budget" in tuned_page.read_text(encoding="utf-8")
    assert "one common learning rate" not in tuned_page.read_text(encoding="utf-8")
    assert "one common learning rate" in quick_page.read_text(encoding="utf-8")
    assert 'id="tuning"' not in quick_page.read_text(encoding="utf-8")


def test_a_level_claim_is_not_asked_where_tuning_was_switched_off(
    make_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    suite = change_suite(tuned(8), {"learning_rate": "0.1"})
    levels, own = summary(make_run(suite)).verdicts
    assert levels.outcome == "not asked"
    assert "levels are compared only where every normalizer was tuned, and this run switched that off" in levels.reason
    assert own.outcome != "not asked"


def test_a_value_that_was_tried_without_a_score_is_warned_of_before_any_number_and_in_its_section(
    make_tuned_run: Callable[..., Path], tuned: Callable[..., Suite]
) -> None:
    def trial(one: Cell) -> dict[str, Any]:
        settings = one.settings.model_dump()
        gone = (settings["normalizer"], settings["ranks"], settings["learning_rate"]) == ("group_norm", 20, 0.4)
        score = 1 - abs(settings["learning_rate"] - 0.1)
        return scored(None, status="diverged", reason="not finite") if gone else scored(score)

    run = make_tuned_run(tuned(1), trial=trial)
    told = "In 1 of 4 tuned conditions something was tried without a score: its trials failed, or all diverged."
    assert summary(run).tuning == (told,)
    warned = (
        "learning_rate 0.4 was tried without a score, for group_norm at ranks 20 (2 each): its trials failed, or all "
        "diverged."
    )
    assert tuning_of(run).lost == (warned,)
    page = report(run).read_text(encoding="utf-8")
    assert told in page.partition("</header>")[0]
    assert f'<p class="warning">{warned}</p>' in page
