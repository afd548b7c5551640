"""Speeds in few words: never averaged over what differs in kind, and with what they leave out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import Estimate, Pivot, report, summary, words
from normzoo_suites import Cell, Figure, Suite, change_suite, load_suite

LAYERS = str(Path(__file__).parent / "layers.toml")

ALONE = "sync_batch_norm is timed in one process, where nothing is synchronized."


@pytest.fixture
def throughput() -> Suite:
    """Two layers, in two dtypes and two directions."""
    changes = {"shape": "64x56x56,256x14x14", "batch_size": "8", "layout": "contiguous", "direction": "forward,eval"}
    return change_suite(load_suite(LAYERS), changes, normalizers=["batch_norm", "group_norm"])


def speed_of(folder: Path) -> Pivot:
    (found,) = summary(folder).costs
    return found.table


def row(speed: Pivot, name: str) -> dict[str, Estimate | str]:
    return dict(zip(speed.columns, dict(speed.rows)[name], strict=True))


def test_speed_is_the_geometric_mean_of_the_layers_ratios(quick_run: Path) -> None:
    found = row(speed_of(quick_run), "group_norm")["forward_backward, float32"]
    assert not isinstance(found, str)
    assert (found.low, found.high, found.n, found.over) == pytest.approx((1.61, 1.771, 2, "layer"))
    assert found.value == pytest.approx((1.61 * 1.771) ** 0.5)


def test_directions_and_dtypes_are_never_averaged(make_run: Callable[..., Path], throughput: Suite) -> None:
    ratios = {("forward", "float32"): 2, ("forward", "bfloat16"): 3, ("eval", "float32"): 5, ("eval", "bfloat16"): 7}

    def measure(cell: Cell) -> dict[str, Any]:
        settings = cell.settings.model_dump()
        return {"metrics": {"step_ms_ratio": ratios[settings["direction"], settings["dtype"]]}}

    found = row(speed_of(make_run(throughput, measure)), "group_norm")
    values = {column: one.value for column, one in found.items() if not isinstance(one, str)}
    assert values == pytest.approx({
        "float32, forward": 2, "float32, eval": 5, "bfloat16, forward": 3, "bfloat16, eval": 7,
    })  # fmt: skip


def test_a_normalizer_that_was_never_timed_says_why(make_run: Callable[..., Path], throughput: Suite) -> None:
    def measure(cell: Cell) -> dict[str, Any]:
        crashed = cell.settings.normalizer == "group_norm"
        return {"status": "crashed"} if crashed else {"metrics": {"step_ms_ratio": 1}}

    assert set(row(speed_of(make_run(throughput, measure)), "group_norm").values()) == {"crashed (2)"}


def test_a_run_without_timings_has_no_speed(make_run: Callable[..., Path], tiny: Callable[[int], Suite]) -> None:
    found = summary(make_run(tiny(2)))
    assert found.costs == ()


def test_parts_of_a_table_hold_every_column_once(quick_run: Path) -> None:
    whole = summary(quick_run).accuracy
    assert whole is not None
    parts = whole.parts(3)
    assert [len(part.columns) for part in parts] == [3, 1]
    assert tuple(column for part in parts for column in part.columns) == whole.columns
    assert all(parts[0].rows[i][1] + parts[1].rows[i][1] == cells for i, (_, cells) in enumerate(whole.rows))


def test_wherever_a_pool_over_ranks_is_timed_it_is_said_that_nothing_is_synchronized(
    quick_page: Path, quick_run: Path
) -> None:
    page = quick_page.read_text(encoding="utf-8")
    captions = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert [ALONE in caption for caption in captions] == [False, True, False, False, True, False]
    assert f"* {ALONE}" in page  # below the table of speeds, where its rows have a star
    assert re.findall(r"<bdi>(\w+)</bdi>\*<small>", page) == ["sync_batch_norm"] * 2
    assert [cost.note for cost in summary(quick_run).costs] == [ALONE]


def test_a_figure_of_timings_speaks_of_no_seeds(make_run: Callable[..., Path], throughput: Suite) -> None:
    where: dict[str, list[Any]] = {"direction": ["forward"], "dtype": ["float32"]}
    figure = Figure(kind="bar", measure="throughput", x="shape", y="images_per_s", where=where)
    page = report(make_run(throughput.model_copy(update={"figures": [figure]}))).read_text(encoding="utf-8")
    assert "<figcaption>Each mark is the value of one cell.</figcaption>" in page


def test_without_a_pool_over_ranks_nothing_is_said_of_synchronizing(
    make_run: Callable[..., Path], throughput: Suite
) -> None:
    folder = make_run(throughput)
    assert {cost.note for cost in summary(folder).costs} == {""}
    assert "synchronized" not in report(folder).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_suite_of_layers_renders_small_with_all_its_cells(make_run: Callable[..., Path]) -> None:
    suite = change_suite(load_suite(LAYERS), {"batch_size": "32", "dtype": "float32"})
    assert len(suite.cells()) == 210
    assert report(make_run(suite)).stat().st_size < 1_500_000


@pytest.mark.slow  # 2,060 records and 9,999 resamples of each mean
def test_a_thousand_and_thirty_seeds_are_reported(make_run: Callable[..., Path], tiny: Callable[[int], Suite]) -> None:
    suite = change_suite(tiny(1030), {"ranks": "1,20"}, normalizers=["batch_norm"])
    folder = make_run(suite)
    assert summary(folder).verdicts[0].n == 1030
    assert "1,030 seeds" in report(folder).read_text(encoding="utf-8")


def test_a_difference_of_ratios_is_told_as_a_share_of_batch_norms_time() -> None:
    assert words.show_change("step_ms_ratio", -0.3768) == "−37.7 %"
    assert words.show_change_range("model_step_ms_ratio", 0.0, 12.5) == "[0.0, +1,250.0]"
    assert words.show_change("test_accuracy", 0.1) == "+10.0 points"
    assert words.show_change("peak_mib", -3.25) == "−3.25 MiB"
    assert words.show_change_range("step_ms", -3.25, 1.0) == "[−3.25, +1]"


def test_one_layer_alone_has_the_scatter_of_its_samples(make_run: Callable[..., Path]) -> None:
    changes = {
        "shape": "64x56x56",
        "batch_size": "8",
        "layout": "contiguous",
        "direction": "forward",
        "dtype": "float32",
    }
    suite = change_suite(load_suite(LAYERS), changes, normalizers=["batch_norm", "group_norm"])
    (cost,) = summary(make_run(suite)).costs
    (one,) = row(cost.table, "group_norm").values()
    assert not isinstance(one, str)
    assert one.over == "sample"
    assert one.low is not None
    assert "geometric" not in cost.title
