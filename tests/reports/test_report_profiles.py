"""Performance profiles of layers' times and of runs' accuracies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normzoo_reports import report
from normzoo_reports.drawing.every import drawings
from normzoo_reports.findings.profiles import Profile, Times, times
from normzoo_reports.findings.scores import Scores, accuracies
from normzoo_reports.load import load_frame
from normzoo_reports.statistics.profiles import above, band, to_best, within
from normzoo_suites import Cell, Suite, change_suite, load_suite, read_run

LAYERS = str(Path(__file__).parent / "layers.toml")
RATIO = {"batch_norm": 1.0, "group_norm": 1.5, "none": 0.3}


def layers_of(sizes: str = "1,2,4,8,16,32", **changes: str) -> Suite:
    asked = {"shape": "64x56x56", "batch_size": sizes, "dtype": "float32", "layout": "contiguous"}
    asked |= {"direction": "forward", "mode": "eager", "cache": "hot"} | changes
    return change_suite(load_suite(LAYERS), asked, normalizers=["batch_norm", "group_norm", "none"])


def timed(cell: Cell) -> dict[str, Any]:
    """Say that group norm takes 1.5 times batch norm's time, and two thirds of it on single images."""
    settings = cell.settings.model_dump()
    ratio = RATIO[settings["normalizer"]]
    ratio = 1 / ratio if settings["batch_size"] == 1 else ratio
    return {"metrics": {"step_ms": ratio, "step_ms_ratio": ratio}}


def profiles(folder: Path) -> list[Times]:
    run = read_run(folder)
    return times(run, load_frame(run))


def scored(folder: Path) -> Scores | None:
    run = read_run(folder)
    return accuracies(run, load_frame(run))


def texts(one: Profile) -> tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...]:
    """The rows without the cells that they lead to."""
    return tuple(
        (panel, tuple((name, tuple(text for text, _ in values)) for name, values in rows)) for panel, rows in one.rows
    )


def test_times_are_told_as_multiples_of_the_best_of_their_problem() -> None:
    found = to_best(np.array([[2.0, 3.0, np.inf], [4.0, 1.0, 1.0]]))
    assert found.tolist() == [[1.0, 1.5, np.inf], [4.0, 1.0, 1.0]]
    assert [within(found[:, 0], factor) for factor in (1, 3.9, 4)] == [1, 1, 2]
    with pytest.raises(ValueError, match="nobody did"):
        to_best(np.array([[np.inf, np.inf]]))


def test_shares_above_a_level_count_runs_over_all_conditions() -> None:
    scores = np.array([[0.2, 0.9], [0.4, 0.9]])
    assert above(scores, np.array([0.1, 0.2, 0.3, 0.9])).tolist() == [1.0, 0.75, 0.75, 0.0]


def test_bands_of_ten_seeds_hold_the_truth_in_about_nine_of_ten_cases() -> None:
    """As the docstring says: too narrow, but no more than that."""
    random = np.random.default_rng(1)
    level, held = np.array([0.0]), []
    for _ in range(400):
        scores = random.normal(0, 1, (10, 1)) + random.normal(0, 1, (10, 4)) + np.array([-1, 0, 0, 1])
        low, high = band(scores, level)
        held.append(low[0] <= 0.5 <= high[0])  # half of all are above 0, by symmetry
    assert 0.86 < np.mean(held) < 0.96


def test_a_profile_counts_the_layers_within_each_factor(make_run: Callable[..., Path]) -> None:
    (one,) = profiles(make_run(layers_of(), timed))
    assert one.title == "Layers within a factor of the fastest, hot"
    assert one.told == ("forward: 6 layers, each time of one process.",)
    assert one.heads == ("fastest", "within 1.05×", "within 1.1×", "within 1.25×", "within 1.5×", "farthest")
    assert texts(one) == (
        (
            "forward",
            (
                ("batch_norm", ("5 of 6", "5 of 6", "5 of 6", "5 of 6", "6 of 6", "1.50×")),
                ("group_norm", ("1 of 6", "1 of 6", "1 of 6", "1 of 6", "6 of 6", "1.50×")),
            ),
        ),
    )


def test_the_control_is_no_competitor(make_run: Callable[..., Path]) -> None:
    (one,) = profiles(make_run(layers_of(), timed))
    assert "none" not in one.ratios["forward"]


def test_four_layers_have_no_profile(make_run: Callable[..., Path]) -> None:
    folder = make_run(layers_of("1,2,4,8"), timed)
    assert profiles(folder) == []
    assert "How often how good" not in report(folder).read_text(encoding="utf-8")


def test_hot_and_cold_and_dtypes_are_apart_and_directions_are_panels(make_run: Callable[..., Path]) -> None:
    suite = layers_of(cache="hot,cold", dtype="float32,bfloat16", direction="forward,eval")
    found = profiles(make_run(suite, timed))
    assert [one.title.removeprefix("Layers within a factor of the fastest, ") for one in found] == [
        "hot, float32", "hot, bfloat16", "cold, float32", "cold, bfloat16"
    ]  # fmt: skip
    assert all(list(one.ratios) == ["forward", "eval"] for one in found)


def test_a_time_that_could_not_be_taken_is_never_within(make_run: Callable[..., Path]) -> None:
    def failing(cell: Cell) -> dict[str, Any]:
        failed = cell.settings.normalizer == "group_norm" and cell.settings.model_dump()["batch_size"] == 32
        return {"status": "oom", "reason": "no room", "metrics": {}} if failed else timed(cell)

    (one,) = profiles(make_run(layers_of(), failing))
    assert texts(one)[0][1][1] == ("group_norm", ("1 of 6", "1 of 6", "1 of 6", "1 of 6", "5 of 6", "failed"))
    assert "1 time that could not be taken" in one.told[0]


def test_a_layer_that_is_not_measured_everywhere_yet_is_left_out_by_name(make_run: Callable[..., Path]) -> None:
    def missing(cell: Cell) -> dict[str, Any] | None:
        lacking = cell.settings.normalizer == "group_norm" and cell.settings.model_dump()["batch_size"] == 32
        return None if lacking else timed(cell)

    (one,) = profiles(make_run(layers_of(), missing))
    told = "forward: 5 layers, each time of one process. Left out: 64x56x56, batch_size 32 (without group_norm)."
    assert one.told == (told,)


def test_times_are_means_over_repeats(make_run: Callable[..., Path]) -> None:
    def drifting(cell: Cell) -> dict[str, Any]:
        told = timed(cell)
        if cell.settings.normalizer == "group_norm" and cell.settings.replicate == 1:
            told["metrics"]["step_ms_ratio"] *= 1.2
        return told

    (one,) = profiles(make_run(change_suite(layers_of(), {}, repeats=2), drifting))
    assert "each time the mean over 2 repeats" in one.told[0]
    assert one.ratios["forward"]["group_norm"].max() == pytest.approx(1.5 * 1.1)


def test_accuracies_have_a_profile_from_six_seeds_and_two_conditions(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    found = scored(make_run(tiny(6)))
    assert found is not None
    assert found.told[0].startswith("18 runs of each normalizer: 6 seeds under each of 3 conditions.")
    assert scored(make_run(tiny(5), name="five")) is None
    assert scored(make_run(change_suite(tiny(6), {"ranks": "1"}), name="one")) is None


def test_the_table_and_the_curves_count_runs_above_levels(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    def measure(cell: Cell) -> dict[str, Any]:
        accuracy = 0.95 if cell.settings.normalizer == "group_norm" else {1: 0.9, 5: 0.7, 20: 0.5}[cell.settings.ranks]
        return {"metrics": {"test_accuracy": accuracy, "chance_accuracy": 0.1}}

    found = scored(make_run(tiny(6), measure))
    assert found is not None
    assert found.heads == ("above 50 %", "above 60 %", "above 70 %", "above 80 %", "above 90 %")
    assert dict(texts(found)[0][1]) == {
        "batch_norm": ("67 %", "67 %", "33 %", "33 %", "0 %"),
        "group_norm": ("100 %",) * 5,
    }
    shares, low, high = found.curves["batch_norm"]
    assert (shares[0], shares[-1]) == (1.0, 0.0)
    assert low == pytest.approx(shares)  # all seeds agree
    assert high == pytest.approx(shares)


def test_a_seed_that_lacks_a_run_is_left_out_whole(make_run: Callable[..., Path], tiny: Callable[[int], Suite]) -> None:
    def some(cell: Cell) -> dict[str, Any] | None:
        if (cell.settings.normalizer, cell.settings.ranks, cell.settings.replicate) == ("batch_norm", 5, 3):
            return None
        return {"metrics": {"test_accuracy": 0.5 + 0.01 * cell.settings.replicate, "chance_accuracy": 0.1}}

    found = scored(make_run(tiny(7), some))
    assert found is not None
    assert "6 seeds under each of 3" in found.told[0]
    assert found.told[1] == "Left out: 1 seed under which a run has no value."


def test_data_sets_of_other_chance_are_put_on_one_scale(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    def measure(cell: Cell) -> dict[str, Any]:
        chance = 0.5 if cell.settings.dataset.startswith("two") else 0.1
        return {"metrics": {"test_accuracy": chance + 0.5 * (1 - chance), "chance_accuracy": chance}}

    found = scored(make_run(change_suite(tiny(6), {"dataset": "digits,two/classes", "ranks": "1"}), measure))
    assert found is not None
    assert found.metric == "accuracy above chance"
    assert "share of the way from chance" in found.told[-1]
    shares = found.curves["batch_norm"][0]
    assert set(np.round(shares, 6)) == {0.0, 1.0}  # all runs are half of the way


def test_profiles_stand_on_the_page_and_among_the_figures_for_papers(
    make_run: Callable[..., Path], tiny: Callable[[int], Suite]
) -> None:
    folder = make_run(tiny(6))
    page = report(folder).read_text(encoding="utf-8")
    title = "Runs above a level of test accuracy"
    assert f"<h3>{title}</h3>" in page
    assert f'aria-label="{title}"' in page
    assert title in [one.title for one in drawings(read_run(folder))]
