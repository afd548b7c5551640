"""Sessions of pytest-benchmark, beside a run's records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import report
from normzoo_reports.findings.benchmarks import read_sessions
from normzoo_suites import SuiteError


def benchmark(name: str, group: str | None, median: float, **told: Any) -> dict[str, Any]:
    stats = {"median": median, "q1": median * 0.9, "q3": median * 1.1, "rounds": 5, "min": 0.0, "data": [median]}
    return {"name": name, "group": group, "stats": stats, "extra_info": told, "params": None}


SESSION = {
    "machine_info": {"node": "secret-host", "cpu": {"brand_raw": "Some CPU"}, "python_version": "3.11.7"},
    "datetime": "2026-11-21T10:00:00+00:00",
    "benchmarks": [
        benchmark("bench_ratio[a]", "ratios", 0.002, ratio=0.5, ratio_p10=0.45, ratio_p90=0.6, rival="nn.BatchNorm2d"),
        benchmark("bench_layer[b]", "layers", 0.25, share_of_limit=0.914),
        benchmark("bench_ratio[c]", "ratios", 0.004),
    ],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "bench.json"
    made.write_text(json.dumps(SESSION), encoding="utf-8")
    return made


def test_benchmarks_stand_by_group_in_the_order_of_their_first_ones(file: Path) -> None:
    (session,) = read_sessions([file])
    names = {group: [one.name for one in own] for group, own in session.groups.items()}
    assert names == {"ratios": ["bench_ratio[a]", "bench_ratio[c]"], "layers": ["bench_layer[b]"]}


def test_times_are_told_in_milliseconds_and_ratios_with_their_rival(file: Path) -> None:
    first, second, third = read_sessions([file])[0].benchmarks
    assert first.median == "2 ms [1.8, 2.2]"
    assert first.ratio == "0.50× [0.45, 0.60] nn.BatchNorm2d"
    assert (second.ratio, second.share_of_limit) == ("", "91 %")
    assert (third.ratio, third.share_of_limit) == ("", "")


def test_a_benchmark_goes_by_what_it_tells_of_itself_and_what_is_no_number_is_not_shown(tmp_path: Path) -> None:
    odd = {"implementation": "nn.GroupNorm", "ratio": 1.0, "ratio_p10": float("nan"), "ratio_p90": True}
    told = SESSION | {"benchmarks": [benchmark("bench_layer[long]", None, 0.1, **odd, share_of_limit=10**400)]}
    file = tmp_path / "odd.json"
    file.write_text(json.dumps(told), encoding="utf-8")
    (one,) = read_sessions([file])[0].benchmarks
    assert (one.label, one.ratio, one.share_of_limit) == ("nn.GroupNorm", "", "")


def test_the_machine_is_told_without_its_name(file: Path) -> None:
    told = read_sessions([file])[0].told
    assert told == "Some CPU, Python 3.11.7, 2026-11-21"
    assert "secret" not in str(read_sessions([file]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[]", "is no file of pytest-benchmark: the whole: input should be"),
        ("{}", "is no file of pytest-benchmark: benchmarks: field required; write one by"),
        ('{"benchmarks": []}', "benchmarks: list should have at least 1 item"),
        ('{"benchmarks": [{"name": "a", "stats": {}}]}', "benchmarks.0.stats.median: field required"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SuiteError) as caught:
        read_sessions([file])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_session_stands_on_the_page_beside_the_run(file: Path, quick_run: Path, tmp_path: Path) -> None:
    page = report(quick_run, tmp_path / "page.html", [file]).read_text(encoding="utf-8")
    section = page[page.index("<h2>Measured by pytest-benchmark") :].partition("</section>")[0]
    assert "0.50× [0.45, 0.60] nn.BatchNorm2d" in section
    assert section.count("<h3>") == 2
    assert "secret-host" not in page
    assert "pytest-benchmark" not in report(quick_run, tmp_path / "other.html").read_text(encoding="utf-8")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"cannot read .*none\.json: No such file"):
        read_sessions([tmp_path / "none.json"])
