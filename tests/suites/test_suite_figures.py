"""Figures are held to the suite's own grids before anything is measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from normzoo_suites import SuiteError, parse_suite

Spoiled = Callable[[str, str], str]


LINE = "of a line figure is a"


@pytest.mark.parametrize(
    ("old", "new", "line", "said", "nearest"),
    [
        ('x = "local_batch"', 'x = "lcal_batch"', 33, f"x {LINE} setting of accuracy, got 'lcal_batch'", "local_batch"),
        ('x = "local_batch"', 'x = "test_loss"', 33, f"x {LINE} setting of accuracy, got 'test_loss'", ""),
        ('y = "test_accuracy"', 'y = "tst_loss"', 34, f"y {LINE} metric of accuracy, got 'tst_loss'", "test_loss"),
        ('y = "test_accuracy"', 'y = "step_ms"', 34, f"y {LINE} metric of accuracy, got 'step_ms'", ""),
        ('x = "step_ms_ratio"', 'x = "dtype"', 40, "x of a point figure is a metric of throughput, got 'dtype'", ""),
        ('y = "normalizer"', 'y = "ranks"', 41, "y of a point figure is a setting of throughput, got 'ranks'", ""),
        ('kind = "line"', 'kind = "line"\nhue = "rank"', 33, f"hue {LINE} setting of accuracy, got 'rank'", "ranks"),
        ('kind = "line"', 'kind = "line"\nfacet = "lr"', 33, f"facet {LINE} setting of accuracy, got 'lr'", ""),
        ('measure = "throughput"\nx', 'measure = "thrghput"\nx', 39, "unknown measure 'thrghput'", "throughput"),
        ("where = { ranks", "where = { epoch", 35, "unknown setting 'epoch' in where", "epochs"),
        ("[1, 20] }", "[1, 2] }", 35, "where asks for ranks = 2, which no cell has; cells have 1, 20", ""),
        ("[1, 20] }", "[] }", 35, "where asks for ranks = nothing", ""),
        ("[1, 20] }", "['1'] }", 35, "ranks: must be a valid integer, got '1'", ""),
    ],
)
def test_a_figure_of_what_is_not_measured_is_refused(
    spoiled: Spoiled, old: str, new: str, line: int, said: str, nearest: str
) -> None:
    message = spoiled(old, new)
    assert message.startswith(f"small.toml, line {line}: {said}")
    assert f"did you mean {nearest!r}?" in message or not nearest


def test_a_figure_of_a_measure_that_no_grid_has_is_refused(spoiled: Spoiled, small_text: str) -> None:
    start = small_text.index('[[grids]]\nmeasure = "throughput"')
    grid = small_text[start : small_text.index("[[claims]]")]
    assert "a figure shows throughput, which no grid of this suite measures" in spoiled(grid, "")


def test_where_may_ask_for_a_derived_value_and_any_spelling(small_text: str) -> None:
    text = small_text.replace("ranks = [1, 20] }", 'local_batch = [2], normalizer = ["group_norm( groups=8 )"] }')
    assert parse_suite(text, "small.toml").figures[0].where["normalizer"] == ["group_norm(groups=8)"]


def test_a_figure_of_a_reading_that_none_of_its_cells_makes_is_refused_with_the_setting_that_makes_it(
    spoiled: Spoiled, small_text: str
) -> None:
    message = spoiled('y = "test_accuracy"', 'y = "test_accuracy_ema"')
    assert message == (
        "small.toml, line 34: no cell that it shows gives test_accuracy_ema; it needs ema above 0, such as ema = 0.99"
    )
    some = small_text.replace('y = "test_accuracy"', 'y = "test_accuracy_mean_buffers"')  # those with ranks = 20 do
    parse_suite(some, "small.toml")
    with pytest.raises(SuiteError, match="gives test_accuracy_mean_buffers; it needs ranks above 1"):
        parse_suite(some.replace("where = { ranks = [1, 20] }", "where = { ranks = [1] }"), "small.toml")
