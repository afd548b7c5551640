"""What nets came to on streams: a table per stream, and each training once in all else."""

from __future__ import annotations

import pytest

from normzoo_reports import report
from normzoo_reports.findings.readings import once, streams
from normzoo_reports.load import load_frame
from normzoo_suites import parse_suite, read_run

SUITE = """
name = "streams"
question = "What do made-up streams say?"
protocol = 1
[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 1, batch_size = 40 }
[grids.axes]
normalizer = ["batch_norm", "group_norm"]
stream = ["iid", "class_ordered"]
corruption = ["none", "noise"]
eval_batch_size = [1, 8]
seed = 6
"""


def made_up(cell):
    """Give batch norm a value that tells the stream's settings apart; group norm has one reading."""
    settings = cell.settings
    metrics = {"test_accuracy": 0.9, "chance_accuracy": 0.1, "stream_accuracy": 0.8}
    if settings.normalizer == "batch_norm":
        lost = 0.2 * (settings.stream == "class_ordered") + 0.1 * (settings.corruption == "noise")
        metrics |= {"stream_accuracy_batch": 0.7 - lost + 0.01 * settings.seed, "stream_accuracy_adabn": 0.6}
    return {"metrics": metrics}


@pytest.fixture
def folder(make_run):
    return make_run(parse_suite(SUITE, "streams.toml"), made_up)


def test_there_is_a_table_for_each_stream_corruption_and_size_of_batches(folder):
    run = read_run(folder)
    assert [one.condition for one in streams(run, load_frame(run))] == [
        f"{stream}, {kind}, {size}, momentum 0.1"
        for stream in ("iid", "class_ordered")
        for kind in ("clean", "noise")
        for size in ("one sample at a time", "batches of 8")
    ]


def test_a_table_has_the_means_of_its_own_stream(folder):
    run = read_run(folder)
    found = {one.condition: one.table for one in streams(run, load_frame(run))}
    table = found["class_ordered, noise, batches of 8, momentum 0.1"]
    assert table.columns == ("as trained", "each batch's statistics", "the whole stream's (AdaBN)")
    rows = dict(table.rows)
    assert [cell.point for cell in rows["batch_norm"]] == ["80.0 %", "42.5 %", "60.0 %"]
    assert rows["group_norm"][0].point == "80.0 %"
    assert rows["group_norm"][1:] == ("", "")


def test_highest_and_lowest_are_named_where_the_pairs_say_so(folder):
    run = read_run(folder)
    found = {one.condition: one.found for one in streams(run, load_frame(run))}
    assert found["class_ordered, noise, batches of 8, momentum 0.1"] == (
        "batch_norm: highest with as trained, lowest with each batch's statistics.",
    )


def test_a_training_that_meets_eight_streams_counts_once_for_its_test_accuracy(folder):
    run = read_run(folder)
    table = load_frame(run)
    assert len(once(table, "test_accuracy", run)) == 12  # 2 normalizers, 6 seeds
    assert len(once(table, "stream_accuracy_batch", run)) == 96


def test_a_run_without_streams_says_nothing_of_them(make_run, tiny):
    folder = make_run(tiny(2))
    run = read_run(folder)
    assert streams(run, load_frame(run)) == []
    assert "On a stream" not in report(folder).read_text(encoding="utf-8")


def test_the_page_shows_them(folder):
    page = report(folder).read_text(encoding="utf-8")
    assert "<h3>iid, noise, one sample at a time, momentum 0.1</h3>" in page
