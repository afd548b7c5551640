"""Tables lead to the records that their cells stand for, by addresses that work without a script."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import report
from normzoo_reports.page import records
from normzoo_suites import Cell, Run, Suite, change_suite, load_suite, parse_suite, read_run

LAYERS = str(Path(__file__).parent / "layers.toml")
MANY = """
name = "many"
question = "What do made-up numbers say on many data sets?"
protocol = 1
[[grids]]
measure = "accuracy"
fixed = { model = "mlp", epochs = 1, batch_size = 40 }
[grids.axes]
normalizer = ["batch_norm", "group_norm", "none"]
dataset = ["data/0", "data/1", "data/2"]
seed = 2
"""
MakeRun = Callable[..., Path]


def rows(page: Path, section: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Give the rows of a section's tables that name a normalizer: the name, and each link's cell and text."""
    text = page.read_text(encoding="utf-8")
    (own,) = re.findall(rf'<section id="{section}".*?</section>', text, flags=re.DOTALL)
    found = re.findall(r'<tr[^>]* data-normalizer="(\w+)"[^>]*>(.*?)</tr>', own, flags=re.DOTALL)
    assert set(re.findall('href="#([^"]+)"', text)) <= set(re.findall(' id="([^"]+)"', text))
    return [(name, re.findall(r'<a href="#cell-(\w+)">([^<]*)</a>', row)) for name, row in found]


def settings(run: Run) -> dict[str, dict[str, Any]]:
    return {cell.id: cell.settings.model_dump() for cell in (*run.cells, *run.trials)}


def by_name(cell: Cell) -> dict[str, Any]:
    accuracy = {"batch_norm": 0.9, "group_norm": 0.8, "none": 0.5}[cell.settings.normalizer]
    return {"metrics": {"test_accuracy": accuracy, "chance_accuracy": 0.1}}


def test_a_place_on_a_data_set_leads_to_a_run_on_it(make_run: MakeRun) -> None:
    folder = make_run(parse_suite(MANY, "many.toml"), by_name)
    told, of = rows(report(folder), "average-ranks"), settings(read_run(folder))
    assert [name for name, _ in told] == ["batch_norm", "group_norm", "none"]
    for name, links in told:
        assert {of[cell]["normalizer"] for cell, _ in links} == {name}
        assert [of[cell]["dataset"] for cell, _ in links[1:]] == ["data/0", "data/1", "data/2"]
    assert [text for _, text in told[1][1]] == ["2.00", "80.0 %", "80.0 %", "80.0 %"]


def test_shares_of_layers_lead_to_the_best_one_and_the_farthest_time_to_its_own(make_run: MakeRun) -> None:
    """Group norm takes 0.6 times batch norm's time on single images, 3.7 times on 32, and 0.9 or 1.3 on 4 or 8."""
    asked = {"shape": "64x56x56", "batch_size": "1,2,4,8,16,32", "dtype": "float32", "layout": "contiguous"}
    asked |= {"direction": "forward", "mode": "eager", "cache": "hot"}

    def timed(cell: Cell) -> dict[str, Any]:
        size = cell.settings.model_dump()["batch_size"]
        ratio = 0.5 + 0.1 * size if cell.settings.normalizer == "group_norm" else 1.0
        return {"metrics": {"step_ms": ratio, "step_ms_ratio": ratio}}

    folder = make_run(change_suite(load_suite(LAYERS), asked, normalizers=["batch_norm", "group_norm"]), timed)
    of = settings(read_run(folder))
    for name, links in rows(report(folder), "profiles"):
        *best, farthest = (of[cell]["batch_size"] for cell, _ in links)
        assert {of[cell]["normalizer"] for cell, _ in links} == {name}
        assert (set(best), farthest) == (({1}, 32) if name == "group_norm" else ({8}, 1))


def test_shares_of_runs_lead_to_the_most_accurate_run(make_run: MakeRun, tiny: Callable[[int], Suite]) -> None:
    folder = make_run(tiny(6))
    run = read_run(folder)
    for name, links in rows(report(folder), "profiles"):
        own = [cell.id for cell in run.cells if cell.settings.normalizer == name]
        assert {cell for cell, _ in links} == {max(own, key=lambda one: run.records[one].metrics["test_accuracy"])}


def test_a_score_leads_to_a_trial_of_its_value(tuned_page: Path) -> None:
    of = settings(read_run(tuned_page.parent))
    told = rows(tuned_page, "tuning")
    assert len(told) == 4
    for name, links in told:
        assert {of[cell]["normalizer"] for cell, _ in links} == {name}
        assert [of[cell]["learning_rate"] for cell, _ in links] == [0.05, 0.1, 0.2, 0.4]
        assert {of[cell]["evaluate_on"] for cell, _ in links} == {"validation"}
        assert len({of[cell]["ranks"] for cell, _ in links}) == 1


def test_every_trial_has_its_settings_numbers_and_command(tuned_page: Path) -> None:
    page, run = tuned_page.read_text(encoding="utf-8"), read_run(tuned_page.parent)
    for trial in run.trials:
        (block,) = re.findall(rf'<div class="cell" id="cell-{trial.id}">(.*?)</div>', page, flags=re.DOTALL)
        assert f"validation_accuracy {run.records[trial.id].metrics['validation_accuracy']:.5g}" in block
        assert f"reproduce runs/quick {trial.id}" in block
    assert "batch_norm, learning_rate 0.05, ranks 1 (40 each)" in page.partition("<h3>trials</h3>")[2]


def test_the_script_knows_trials_apart_from_the_cells_whose_curves_it_draws(tuned_page: Path) -> None:
    (held,) = re.findall('id="data">(.*?)</script>', tuned_page.read_text(encoding="utf-8"), flags=re.DOTALL)
    run = read_run(tuned_page.parent)
    for key, own in (("cells", run.cells), ("trials", run.trials)):
        assert set(json.loads(held)[key]) == {cell.id for cell in own}


def test_a_row_of_a_split_leads_to_the_record_that_tells_of_it(
    make_run: MakeRun, tiny: Callable[[int], Suite], measured: Callable[[Cell], Any]
) -> None:
    def split(cell: Cell) -> dict[str, Any]:
        told = {"manifest": f"of {cell.id}", "labels": [[8, 0], [0, 5]]} if cell.settings.ranks == 5 else {}
        return measured(cell) | {"split": told}

    page = report(make_run(tiny(2), split)).read_text(encoding="utf-8")
    (manifest,) = re.findall(r"; manifest of (\w+)", page)
    heads = re.findall(r'<th scope="row"><a href="#cell-(\w+)">(\d)</a></th>', page)
    assert heads == [(manifest, "0"), (manifest, "1")]


def test_marks_of_accuracy_against_speed_and_of_bandwidth_lead_to_their_records(
    make_run: MakeRun, quick: Suite, measured: Callable[[Cell], Any]
) -> None:
    def limited(cell: Cell) -> dict[str, Any]:
        told = measured(cell)
        if cell.measure == "throughput":
            told["metrics"] |= {"fewest_mb": 1.0, "copy_gb_per_s": 5.0, "share_of_limit": 0.5}
        return told

    folder = make_run(change_suite(quick, seeds=2, normalizers=["batch_norm", "group_norm"]), limited)
    page, cells = report(folder), {cell.id: cell for cell in read_run(folder).cells}
    pareto = rows(page, "pareto")
    assert {name for name, _ in pareto} == {"batch_norm", "group_norm"}
    for name, links in pareto:
        assert [cells[cell].measure for cell, _ in links] == ["accuracy", "throughput"]
        assert {cells[cell].settings.normalizer for cell, _ in links} == {name}
    numbers = page.read_text(encoding="utf-8").partition("Numbers: achieved bandwidth")[2].partition("</details>")[0]
    columns = re.findall(r"<bdi>(\w+)</bdi>", numbers)
    assert columns == ["batch_norm", "group_norm"]
    for row in re.findall("<tr><th scope=.*?</tr>", numbers, flags=re.DOTALL):
        led = [cells[cell] for cell in re.findall(r'href="#cell-(\w+)"', row)]
        assert [cell.settings.normalizer for cell in led] == columns
        assert all(f"{cell.settings.model_dump()['shape']}, " in row for cell in led)


def test_a_page_without_details_has_the_same_numbers_and_no_links(
    monkeypatch: pytest.MonkeyPatch, make_run: MakeRun, make_tuned_run: MakeRun, tuned: Callable[..., Suite]
) -> None:
    monkeypatch.setattr(records, "DETAILS_UP_TO", 3)
    many, trials = report(make_run(parse_suite(MANY, "many.toml"), by_name)), report(make_tuned_run(tuned(6)))
    for page, number in ((many, "<small>80.0 %</small>"), (trials, "<b>90.1 %</b>")):
        text = page.read_text(encoding="utf-8")
        assert number in text
        assert "#cell-" not in text.partition("<script>")[0]
