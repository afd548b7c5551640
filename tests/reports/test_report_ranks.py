"""Ranks over data sets, against Demšar's table, formula and example, and on made-up runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from normzoo_reports import report
from normzoo_reports.drawing.ranks import show_rankings
from normzoo_reports.findings.ranks import Ranking, rankings
from normzoo_reports.load import load_frame
from normzoo_reports.statistics.ranks import alike, critical_difference, places, rank
from normzoo_suites import Cell, Suite, parse_suite, read_run

MANY = """
name = "many"
question = "What do made-up numbers say on many data sets?"
protocol = 1
[[grids]]
measure = "accuracy"
fixed = { epochs = 1, batch_size = 40 }
[grids.axes]
normalizer = ["batch_norm", "group_norm", "layer_norm", "none"]
dataset = [DATASETS]
model = [MODELS]
ranks = [RANKS]
seed = 2
"""
ACCURACY = {"batch_norm": 0.9, "group_norm": 0.8, "layer_norm": 0.8, "none": 0.5}


def suite_of(datasets: int, models: str = '"mlp"', ranks: str = "1") -> Suite:
    names = ", ".join(f'"data/{number}"' for number in range(datasets))
    text = MANY.replace("DATASETS", names).replace("MODELS", models).replace("RANKS", ranks)
    return parse_suite(text, "many.toml")


def measured(cell: Cell) -> dict[str, Any]:
    seed = 0.001 * cell.settings.replicate
    return {"metrics": {"test_accuracy": ACCURACY[cell.settings.normalizer] + seed, "chance_accuracy": 0.1}}


def ranked(folder: Path) -> list[Ranking]:
    run = read_run(folder)
    return rankings(run, load_frame(run))


def test_the_critical_difference_is_by_demsars_table() -> None:
    """Table 5a: q at 0.05 for 2 to 10 classifiers."""
    q = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)
    expected = [value * (k * (k + 1) / (6 * 14)) ** 0.5 for k, value in enumerate(q, start=2)]
    assert [critical_difference(k, 14) for k in range(2, 11)] == pytest.approx(expected, rel=5e-4)


def test_the_critical_difference_of_demsars_example_is_his() -> None:
    """Section 3.2.2: four classifiers on 14 data sets, 1.25."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_friedmans_test_is_by_the_formula_for_average_ranks() -> None:
    """Demšar 2006, section 3.2.1: 12 N / (k (k + 1)) · (Σ R² - k (k + 1)² / 4), chi-squared with k - 1 degrees."""
    scores = pd.DataFrame(np.random.default_rng(3).normal([0, 0.5, 1, 1.5], 1, (12, 4)), columns=list("abcd"))
    found = rank(scores)
    chi_squared = 12 * 12 / (4 * 5) * (sum(average**2 for average in found.average) - 4 * 5**2 / 4)
    assert found.p == pytest.approx(stats.chi2.sf(chi_squared, 3))


def test_equal_accuracies_share_the_mean_of_their_ranks_whatever_their_last_bit() -> None:
    row = pd.DataFrame([[0.9, 0.1 + 0.2, 0.3, 0.1]])
    assert list(places(row).iloc[0]) == [1, 2.5, 2.5, 4]


def test_neighbours_are_joined_only_below_the_critical_difference() -> None:
    assert alike("abcd", (1.0, 1.5, 2.0, 4.0), 1.0) == (("a", "b"), ("b", "c"))
    assert alike("abc", (1.0, 1.5, 1.9), 1.0) == (("a", "b", "c"),)
    assert alike("ab", (1.0, 2.0), 0.5) == ()


def test_of_two_blocks_nothing_could_be_beyond_the_critical_difference() -> None:
    assert all(critical_difference(k, 2) > k - 1 for k in range(3, 21))


@pytest.mark.parametrize("names", [3, 6])
def test_without_any_difference_five_blocks_are_said_to_differ_in_at_most_five_percent(names: int) -> None:
    random = np.random.default_rng(1)
    columns = [str(name) for name in range(names)]
    found = [rank(pd.DataFrame(random.normal(size=(5, names)), columns=columns)).p or 1 for _ in range(200)]
    assert np.mean(np.array(found) <= 0.05) <= 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5


def test_four_data_sets_have_ranks_and_no_test(make_run: Callable[..., Path]) -> None:
    folder = make_run(suite_of(4), measured)
    (found,) = ranked(folder)
    assert [(name, average) for name, average, _ in found.rows] == [
        ("batch_norm", "1.00"), ("group_norm", "2.50"), ("layer_norm", "2.50"), ("none", "4.00")
    ]  # fmt: skip
    assert found.ranks.p is None
    assert "4 data sets: ranks are shown, no test; it takes 5." in found.told
    page = report(folder).read_text(encoding="utf-8")
    assert "4 data sets: ranks are shown, no test" in page
    assert "critical difference" not in page


def test_six_data_sets_are_tested_and_drawn(make_run: Callable[..., Path]) -> None:
    folder = make_run(suite_of(6), measured)
    run = read_run(folder)
    (one,) = show_rankings(run, load_frame(run))
    assert one.drawing is not None
    assert "Friedman's test: they differ over 6 data sets" in one.ranking.told[1]
    assert one.ranking.ranks.groups == (
        ("batch_norm", "group_norm", "layer_norm"),
        ("group_norm", "layer_norm", "none"),
    )
    page = report(folder).read_text(encoding="utf-8")
    for text in ("critical difference 1.91", "batch_norm 1.00", "4.00 none"):
        assert f">{text}<" in page
    assert re.search("<title>group_norm: average rank 2.50</title>", page)


def test_no_difference_is_told_as_none_shown(make_run: Callable[..., Path]) -> None:
    names = list(ACCURACY)

    def wild(cell: Cell) -> dict[str, Any]:
        turn = names.index(cell.settings.normalizer) + int(cell.settings.dataset[5])
        return {"metrics": {"test_accuracy": 0.1 * (turn % 4), "chance_accuracy": 0.1}}

    (found,) = ranked(make_run(suite_of(5), wild))
    assert found.told[1].startswith("Friedman's test shows no difference")
    assert found.ranks.groups == (found.ranks.names,)


def test_what_is_tied_everywhere_is_not_tested(make_run: Callable[..., Path]) -> None:
    same = {"metrics": {"test_accuracy": 0.5, "chance_accuracy": 0.1}}
    (found,) = ranked(make_run(suite_of(5), lambda cell: same))
    assert found.told[1] == "All are tied everywhere."


def test_pairs_of_data_set_and_model_are_blocks_and_their_dependence_is_told(make_run: Callable[..., Path]) -> None:
    (found,) = ranked(make_run(suite_of(3, models='"mlp", "resnet20"'), measured))
    assert found.blocks[:2] == ("data/0, mlp", "data/0, resnet20")
    assert found.ranks.blocks == 6
    assert "not independent" in found.told[0]


def test_conditions_are_ranked_apart(make_run: Callable[..., Path]) -> None:
    def measure(cell: Cell) -> dict[str, Any]:
        told = measured(cell)
        if cell.settings.ranks == 20 and cell.settings.normalizer == "batch_norm":
            told["metrics"]["test_accuracy"] = 0.2
        return told

    found = ranked(make_run(suite_of(2, ranks="1, 20"), measure))
    assert [(one.condition, one.ranks.names[0]) for one in found] == [
        ("ranks 1 (40 each)", "batch_norm"), ("ranks 20 (2 each)", "group_norm")
    ]  # fmt: skip


@pytest.mark.parametrize("datasets", [1, 2])
def test_two_normalizers_or_one_data_set_have_no_ranks(make_run: Callable[..., Path], datasets: int) -> None:
    def some(cell: Cell) -> dict[str, Any] | None:
        return measured(cell) if datasets == 1 or cell.settings.normalizer.endswith("norm") else None

    few = (lambda cell: some(cell) if "l" not in cell.settings.normalizer[:1] else None) if datasets == 2 else some
    folder = make_run(suite_of(datasets), few)
    assert ranked(folder) == []
    assert "Places over data sets" not in report(folder).read_text(encoding="utf-8")


def test_a_normalizer_that_failed_on_a_data_set_is_left_out_by_name(make_run: Callable[..., Path]) -> None:
    def failing(cell: Cell) -> dict[str, Any]:
        failed = cell.settings.normalizer == "none" and cell.settings.dataset.startswith("data/3")
        return {"status": "oom", "reason": "no room", "metrics": {}} if failed else measured(cell)

    (found,) = ranked(make_run(suite_of(3), lambda cell: measured(cell)))
    assert len(found.ranks.names) == 4
    (found,) = ranked(make_run(suite_of(4), failing, name="failing"))
    assert len(found.ranks.names) * found.ranks.blocks == 12
    assert found.told[-1] in ("Left out: none (without data/3).", "Left out: data/3 (without none).")
