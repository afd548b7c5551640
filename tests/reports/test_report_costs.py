"""What was timed or weighed: a section per measure, one row for all repeats, and nothing of two kinds in one table."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import Estimate, report, summary, words
from normzoo_reports.drawing.figures import show_figures
from normzoo_reports.findings import speed
from normzoo_reports.findings.speed import Row, Section
from normzoo_reports.load import load_frame
from normzoo_suites import Cell, Figure, Suite, change_suite, parse_suite, read_run
from normzoo_suites.metrics import METRICS

FIXED = {
    "throughput": 'shape = "64x8x8", batch_size = 4',
    "model_throughput": 'model = "timm/resnet18", batch_size = 8',
    "memory": 'model = "timm/resnet18", batch_size = 8',
    "sync_cost": 'model = "timm/resnet18", batch_size = 8',
}
TIMES = {"throughput": "step_ms", "model_throughput": "model_step_ms", "sync_cost": "sync_step_ms"}


def suite_of(measure: str, axes: str = "", repeats: int = 1) -> Suite:
    return parse_suite(
        f"""
name = "made_up"
question = "What do made-up numbers cost?"
protocol = 1
[[grids]]
measure = "{measure}"
fixed = {{ {FIXED[measure]} }}
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
repeat = {repeats}
{axes}
""",
        "made_up.toml",
    )


def told(metrics: dict[str, float], conditions: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"metrics": metrics, "conditions": conditions or {}, "samples": {"ms": [1.0] * 50}}


def timed(name: str, ratio: float, ms: float = 2.0, **more: float) -> dict[str, Any]:
    middle = {name: ms * ratio, f"{name}_ratio": ratio}
    ends = {f"{key}_{end}": value * by for key, value in middle.items() for end, by in (("p10", 0.9), ("p90", 1.1))}
    return told(middle | ends | {f"batch_norm_{name}": ms} | more)


def sections(folder: Path) -> dict[str, Section]:
    run = read_run(folder)
    return {section.measure: section for section in speed.sections(run, load_frame(run))}


def rows(section: Section, table: int = 0) -> dict[str, Row]:
    return {f"{row.normalizer} {row.condition}".strip(): row for row in section.tables[table].rows}


def shown(section: Section, name: str, table: int = 0) -> dict[str, str]:
    return dict(zip(section.tables[table].heads, rows(section, table)[name].values, strict=True))


@pytest.mark.parametrize("measure", TIMES)
def test_all_repeats_of_a_timed_cell_are_one_row_with_an_exact_interval(
    make_run: Callable[..., Path], measure: str
) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        return timed(TIMES[measure], 1 + 0.1 * cell.settings.replicate)

    found = rows(sections(make_run(suite_of(measure, repeats=6), measured))[measure])
    assert list(found) == ["batch_norm", "group_norm"]
    ratio = found["group_norm"].ratio
    assert isinstance(ratio, Estimate)
    assert (ratio.n, ratio.over, ratio.value) == (6, "repeat", pytest.approx(1.25))
    # of 63 means of non-empty subsets ⌊0.025·2⁶⌋ = 1 is left out at either end
    assert (ratio.low, ratio.high) == pytest.approx((1.0, 1.5))


@pytest.mark.parametrize(
    ("measure", "condition"),
    [
        ("throughput", "forward_backward, float32, contiguous"),
        ("model_throughput", "timm/resnet18, training"),
        ("sync_cost", "timm/resnet18, ranks 1 (8 each)"),
    ],
)
def test_a_table_with_one_condition_says_what_it_is(
    make_run: Callable[..., Path], measure: str, condition: str
) -> None:
    folder = make_run(suite_of(measure), lambda cell: timed(TIMES[cell.measure], 1.0))
    (table,) = sections(folder)[measure].tables
    page = report(folder).read_text(encoding="utf-8")
    assert table.only == condition.removesuffix(", contiguous")  # the layout that nobody chose is not told
    assert f'<td class="condition">{table.only}</td>' in page


def test_the_roofline_stands_below_the_ratios(make_run: Callable[..., Path]) -> None:
    limit = {"fewest_mb": 1.0, "copy_gb_per_s": 10.0, "share_of_limit": 0.1}
    page = report(make_run(suite_of("throughput"), lambda _: timed("step_ms", 1.0, **limit))).read_text("utf-8")
    section = page[page.index('<section id="throughput"') :]
    assert section.index("<th>Ratio</th>") < section.index("Bandwidth achieved")


def test_one_process_gives_its_median_and_the_percentiles_of_its_samples(make_run: Callable[..., Path]) -> None:
    section = sections(make_run(suite_of("model_throughput"), lambda _: timed("model_step_ms", 2.0)))[
        "model_throughput"
    ]
    ratio = rows(section)["group_norm"].ratio
    assert isinstance(ratio, Estimate)
    assert (ratio.text, section.tables[0].spread) == ("2.00× [1.80, 2.20]", "p10 to p90")
    assert "10th and 90th percentile" in section.told


def test_a_repeat_without_a_value_is_told_beside_those_that_have_one(make_run: Callable[..., Path]) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        return {"status": "crashed"} if cell.settings.replicate else timed("step_ms", 1.0)

    row = rows(sections(make_run(suite_of("throughput", repeats=3), measured))["throughput"])["group_norm"]
    assert row.notes == "50 samples; 2 without a value"


def test_hot_and_cold_have_tables_of_their_own(make_run: Callable[..., Path]) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        return timed("step_ms", 1.0 if cell.settings.model_dump()["cache"] == "hot" else 3.0)

    folder = make_run(suite_of("throughput", 'cache = ["hot", "cold"]'), measured)
    section = sections(folder)["throughput"]
    assert [table.name.partition(":")[0] for table in section.tables] == ["Hot", "Cold"]
    for number, value in enumerate((1.0, 3.0)):
        assert {row.condition for row in section.tables[number].rows} == {""}
        ratio = rows(section, number)["group_norm"].ratio
        assert isinstance(ratio, Estimate)
        assert ratio.value == value


def test_the_summary_never_averages_hot_with_cold_or_eager_with_compiled(make_run: Callable[..., Path]) -> None:
    ratios = {("hot", "eager"): 2, ("hot", "compiled"): 3, ("cold", "eager"): 5, ("cold", "compiled"): 7}

    def measured(cell: Cell) -> dict[str, Any]:
        settings = cell.settings.model_dump()
        return timed("step_ms", ratios[settings["cache"], settings["mode"]])

    axes = 'cache = ["hot", "cold"]\nmode = ["eager", "compiled"]'
    hot, cold = summary(make_run(suite_of("throughput", axes), measured)).costs
    for headline, kind in ((hot, "hot"), (cold, "cold")):
        assert f", {kind}," in headline.title
        assert headline.table.columns == ("eager", "compiled")
        values = [one.value for one in dict(headline.table.rows)["group_norm"] if isinstance(one, Estimate)]
        assert values == pytest.approx([ratios[kind, "eager"], ratios[kind, "compiled"]])


def test_repeats_of_a_layer_count_once_in_the_mean_over_layers(make_run: Callable[..., Path]) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        settings = cell.settings.model_dump()
        return timed("step_ms", (2.0 if settings["dtype"] == "float32" else 8.0) + settings["repeat"])

    two_layers = change_suite(
        suite_of("throughput", 'dtype = ["float32", "bfloat16"]', repeats=3), {"batch_size": "4,8"}
    )
    first = dict(summary(make_run(two_layers, measured)).costs[0].table.rows)["group_norm"][0]
    assert isinstance(first, Estimate)
    assert (first.value, first.n, first.over) == (pytest.approx(3.0), 2, "layer")


def test_layers_tell_their_share_of_the_limit_and_leave_out_what_nobody_has(make_run: Callable[..., Path]) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        return timed(
            "step_ms", 1.0, share_of_limit=0.5 + 0.1 * cell.settings.replicate, saved_t=1.031, error_vs_float64=2e-7
        )

    section = sections(make_run(suite_of("throughput", repeats=3), measured))["throughput"]
    assert shown(section, "group_norm") == {
        "Step, ms": "2", "Batch norm then, ms": "2", "Of the limit": "60.0 %", "Kept": "1.031", "Error": "2.0e-07"
    }  # fmt: skip


def test_a_models_kernels_are_counts_and_no_mean(make_run: Callable[..., Path]) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        return timed("model_step_ms", 1.0, model_kernels=1500 + cell.settings.replicate, model_images_per_s=4000.0)

    section = sections(make_run(suite_of("model_throughput", repeats=2), measured))["model_throughput"]
    assert shown(section, "group_norm") == {
        "Step, ms": "2", "Batch norm then, ms": "2", "Images/s": "4,000", "Kernels": "1,500 to 1,501"
    }  # fmt: skip


def test_a_peak_is_held_against_batch_norms_of_the_same_condition_and_repeat(make_run: Callable[..., Path]) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        settings = cell.settings.model_dump()
        base = (100 if settings["precision"] == "float32" else 10) * (1 + settings["repeat"])
        times = 1.0 if settings["normalizer"] == "batch_norm" else 1.5 + 0.5 * settings["repeat"]
        return told({"peak_mib": base * times, "saved_mib": base / 2, "model_mib": 50.0})

    axes = 'precision = ["float32", "bfloat16"]'
    section = sections(make_run(suite_of("memory", axes, repeats=2), measured))["memory"]
    for precision in ("float32", "bfloat16"):
        ratio = rows(section)[f"group_norm {precision}"].ratio
        assert isinstance(ratio, Estimate)
        assert (ratio.value, ratio.over, ratio.n) == (pytest.approx((1.5 + 2.0) / 2), "repeat", 2)
    assert shown(section, "group_norm bfloat16") == {"Peak, MiB": "27.5", "Kept, MiB": "7.5", "Model, MiB": "50"}


def test_without_batch_norms_cell_a_peak_stands_alone_and_says_so(make_run: Callable[..., Path]) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        return {"status": "oom"} if cell.settings.normalizer == "batch_norm" else told({"peak_mib": 12.0})

    section = sections(make_run(suite_of("memory"), measured))["memory"]
    assert rows(section)["group_norm"].ratio == "no batch norm to compare with"
    assert rows(section)["batch_norm"].ratio == "oom"
    assert shown(section, "group_norm")["Peak, MiB"] == "12"


def test_the_largest_batch_and_the_peak_of_a_step_have_tables_of_their_own(make_run: Callable[..., Path]) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        settings = cell.settings.model_dump()
        largest = 48 if settings["normalizer"] == "group_norm" else 64
        peak = {"peak_mib": 100.0, "model_mib": 50.0}
        return told(peak if settings["find"] == "peak" else peak | {"largest_batch": largest})

    looked = suite_of("memory", 'find = ["largest_batch"]\nlimit_mib = [512]')
    folder = make_run(looked.model_copy(update={"grids": [*suite_of("memory").grids, *looked.grids]}), measured)
    section = sections(folder)["memory"]
    ratio = rows(section, 1)["group_norm"].ratio
    assert isinstance(ratio, Estimate)
    assert ratio.value == pytest.approx(0.75)
    assert shown(section, "group_norm", 1)["Largest batch"] == "48"
    assert "Largest batch" not in section.tables[0].heads
    assert [table.shared for table in section.tables] == [(("limit_mib", "0"),), (("limit_mib", "512"),)]
    assert [cost.table.metric for cost in summary(folder).costs] == ["peak_mib", "largest_batch"]


def test_ranks_tell_their_collectives_beside_local_batch_norms(make_run: Callable[..., Path]) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        counts = {"collectives": 41.0, "collective_ms": 3.5, "batch_norm_collectives": 1.0}
        return timed("sync_step_ms", 1.4, **counts, batch_norm_collective_ms=0.5)

    section = sections(make_run(suite_of("sync_cost", "ranks = [2, 4]"), measured))["sync_cost"]
    found = shown(section, "group_norm ranks 4 (2 each)")
    assert (found["Collectives"], found["In them, ms"], found["Collectives, local batch norm"]) == ("41", "3.5", "1")


@pytest.mark.parametrize(
    ("measure", "metric"), [*((m, f"{n}_ratio") for m, n in TIMES.items()), ("memory", "peak_mib")]
)
def test_the_summary_has_a_table_for_every_measure(make_run: Callable[..., Path], measure: str, metric: str) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        return told({"peak_mib": 3.0}) if measure == "memory" else timed(TIMES[measure], 1.5)

    (cost,) = summary(make_run(suite_of(measure), measured)).costs
    assert (cost.table.metric, [name for name, _ in cost.table.rows]) == (metric, ["batch_norm", "group_norm"])
    assert cost.table.columns != ("",)  # one condition alone has a name, too


def test_models_are_never_averaged_over_batch_sizes(make_run: Callable[..., Path]) -> None:
    suite = suite_of("model_throughput")
    grid = suite.grids[0].model_copy(update={"axes": suite.grids[0].axes | {"phase": ["training", "inference"]}})
    folder = make_run(suite.model_copy(update={"grids": [grid]}), lambda _: timed("model_step_ms", 1.5))
    (cost,) = summary(folder).costs
    assert cost.table.columns == ("training", "inference")


def test_a_figure_that_would_mix_hot_and_cold_is_drawn_once_for_each(make_run: Callable[..., Path]) -> None:
    suite = suite_of("throughput", 'cache = ["hot", "cold"]')
    figure = Figure(kind="point", measure="throughput", x="step_ms_ratio", y="normalizer", title="Ratios")
    folder = make_run(suite.model_copy(update={"figures": [figure]}), lambda _: timed("step_ms", 1.5))
    run = read_run(folder)
    assert [one.title for one in show_figures(run, load_frame(run))] == ["Ratios, hot", "Ratios, cold"]


def test_a_page_of_every_measure_is_whole_and_has_a_section_for_each(make_run: Callable[..., Path]) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        return told({"peak_mib": 3.0}) if cell.measure == "memory" else timed(TIMES[cell.measure], 1.5)

    suites = [suite_of(measure) for measure in FIXED]
    whole = suites[0].model_copy(update={"grids": [grid for suite in suites for grid in suite.grids]})
    page = report(make_run(whole, measured)).read_text(encoding="utf-8")
    ids = re.findall('<section id="(\\w+)" class="costs part">', page)
    assert ids == list(FIXED)
    assert "nan" not in re.sub("<(style|script)>.*?</", "", page, flags=re.DOTALL).lower().replace("inance", "")


@pytest.mark.parametrize("metric", [name for measure in FIXED for name in METRICS[measure]])
def test_every_metric_of_what_is_timed_has_a_label_with_its_unit(metric: str) -> None:
    label = words.label(metric)
    assert label != metric.replace("_", " ")
    units = {"_ms": "(ms)", "_mib": "(MiB)", "_mb": "(MB)", "gb_per_s": "(GB/s)", "images_per_s": "images per second"}
    bare = re.sub("_(p10|p90)$", "", metric)
    assert all(unit in label for end, unit in units.items() if bare.endswith(end))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.012345, "0.01235"), (12.345, "12.35"), (999.96, "1000"), (12345.6, "12,346"), (1e20, "1e+20")],
)
def test_large_numbers_have_no_exponent_and_small_ones_four_digits(value: float, text: str) -> None:
    assert words.digits(value) == text
    assert math.isclose(float(text.replace(",", "")), value, rel_tol=1e-3)


def test_a_share_far_above_the_limit_leaves_the_axis_few_ticks(make_run: Callable[..., Path]) -> None:
    def measured(cell: Cell) -> dict[str, Any]:
        return timed("step_ms", 1.0, share_of_limit=5.0 if cell.settings.normalizer == "group_norm" else 0.5)

    figure = Figure(kind="point", measure="throughput", x="share_of_limit", y="normalizer")
    folder = make_run(suite_of("throughput").model_copy(update={"figures": [figure]}), measured)
    ticks = re.findall(r">(\d+) %<", report(folder).read_text(encoding="utf-8"))
    assert 3 <= len(ticks) <= 10
