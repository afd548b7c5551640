"""Under which conditions times were taken: told once where alike, else per cell, and warned of where it matters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normzoo_reports import report
from normzoo_reports.findings.conditions import Conditions
from normzoo_suites import Cell, Suite, change_suite, load_suite, read_run

LAYERS = str(Path(__file__).parent / "layers.toml")

Held = Callable[[dict[str, Any]], dict[str, Any]]


def suite_of(**changes: str) -> Suite:
    asked = {"shape": "64x8x8", "batch_size": "8", "dtype": "bfloat16", "layout": "channels_last"}
    asked |= {"direction": "forward", "mode": "eager", "cache": "hot"} | changes
    return change_suite(load_suite(LAYERS), asked, normalizers=["batch_norm", "group_norm"])


def run_of(make_run: Callable[..., Path], suite: Suite, held: Held) -> Path:
    def measured(cell: Cell) -> dict[str, Any]:
        return {"metrics": {"step_ms": 1.0, "step_ms_ratio": 1.0}, "conditions": held(cell.settings.model_dump())}

    return make_run(suite, measured)


def read(folder: Path) -> Conditions:
    return Conditions(read_run(folder), "throughput")


def texts(found: Conditions) -> list[str]:
    return [warning.text for warning in found.warnings({})]


def alike(settings: dict[str, Any]) -> dict[str, Any]:
    return {"output_dtype": settings["dtype"], "output_layout": settings["layout"]}


def test_what_is_the_same_everywhere_is_told_once_and_not_again_per_cell(make_run: Callable[..., Path]) -> None:
    def held(settings: dict[str, Any]) -> dict[str, Any]:
        backend = "Cudnn" if settings["dtype"] == "float32" else "Native"
        return {"cudnn_benchmark": False, "matmul_tf32": True, "batch_norm_backend": backend, "timed_s": 2.5}

    found = read(run_of(make_run, suite_of(dtype="float32,bfloat16"), held))
    assert found.everywhere == "cudnn.benchmark off, TF32 in matmuls on, timed for 2.5 s"
    assert {found.own(cell) for cell in found.held} == {"torch's batch norm by Cudnn", "torch's batch norm by Native"}


def test_the_machine_is_told_within_bounds_and_per_cell_before_and_after(make_run: Callable[..., Path]) -> None:
    def held(settings: dict[str, Any]) -> dict[str, Any]:
        hot = settings["normalizer"] == "group_norm"
        states = {"before": {"sm_mhz": 1980, "celsius": 40}, "after": {"sm_mhz": 1755 if hot else 1980, "celsius": 61}}
        return states | {"throttled": False}

    found = read(run_of(make_run, suite_of(), held))
    assert found.everywhere == "SM clock 1,755 to 1,980 MHz, 40 to 61 °C"
    told = {found.cells[cell].settings.normalizer: found.own(cell) for cell in found.held}
    assert told["group_norm"] == "SM clock 1,980 → 1,755 MHz, 40 → 61 °C"
    assert told["batch_norm"] == "SM clock 1,980 MHz, 40 → 61 °C"


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (
            {"slowed_by": ["power cap"]},
            {"slowed_by": ["power cap", "hardware slowdown"]},
            "power cap, hardware slowdown",
        ),
        ({"stolen_s": 10.0}, {"stolen_s": 10.5}, "the host took 0.5 s"),
        ({"quota_stops": 3}, {"quota_stops": 5}, "stopped 2 times by a quota"),
        ({}, {}, "for reasons that it did not tell"),
    ],
)
def test_a_throttled_cell_is_warned_of_with_the_reason(
    make_run: Callable[..., Path], before: dict[str, Any], after: dict[str, Any], why: str
) -> None:
    def held(settings: dict[str, Any]) -> dict[str, Any]:
        slowed = settings["normalizer"] == "group_norm"
        return {"before": before, "after": after, "throttled": slowed} if slowed else {"throttled": False}

    folder = run_of(make_run, suite_of(), held)
    found = read(folder)
    (warning,) = found.warnings({})
    assert warning.text == f"1 of 2 cells was throttled meanwhile ({why})"
    assert [found.cells[cell].settings.normalizer for cell, _ in warning.cells] == ["group_norm"]
    page = report(folder).read_text(encoding="utf-8")
    assert f'{warning.text}: <a href="#cell-{warning.cells[0][0]}">group_norm, repeat 0</a>.' in page
    assert f"throttled ({why})" in page


def test_an_output_in_a_wider_dtype_is_warned_of_with_all_whose_it_is(make_run: Callable[..., Path]) -> None:
    def held(settings: dict[str, Any]) -> dict[str, Any]:
        return alike(settings) | {"output_dtype": "float32"}

    assert texts(read(run_of(make_run, suite_of(), held))) == [
        "For bfloat16 input batch_norm and group_norm give float32: it has twice the bytes to write, and to read for "
        "what follows."
    ]


def test_an_output_that_is_wider_in_some_cells_only_says_so(make_run: Callable[..., Path]) -> None:
    def held(settings: dict[str, Any]) -> dict[str, Any]:
        widened = settings["normalizer"] == "group_norm" and settings["direction"] == "eval"
        return alike(settings) | ({"output_dtype": "float32"} if widened else {})

    (text,) = texts(read(run_of(make_run, suite_of(direction="forward,eval"), held)))
    assert text.startswith("For bfloat16 input group_norm (not everywhere) gives float32:")


def test_an_output_in_another_layout_is_warned_of(make_run: Callable[..., Path]) -> None:
    def held(settings: dict[str, Any]) -> dict[str, Any]:
        return alike(settings) | ({"output_layout": "contiguous"} if settings["normalizer"] == "group_norm" else {})

    assert texts(read(run_of(make_run, suite_of(), held))) == [
        "For channels_last input group_norm gives contiguous output: what follows runs in that layout, or copies."
    ]


@pytest.mark.parametrize("shape", ["64x1x1", "1x8x8"])
def test_a_shape_that_lies_alike_in_both_layouts_is_no_reason_for_a_warning(
    make_run: Callable[..., Path], shape: str
) -> None:
    def held(settings: dict[str, Any]) -> dict[str, Any]:
        return alike(settings) | {"output_layout": "contiguous"}

    assert texts(read(run_of(make_run, suite_of(shape=shape), held))) == []


def test_nothing_is_warned_of_where_all_is_as_it_was_given(make_run: Callable[..., Path]) -> None:
    folder = run_of(make_run, suite_of(), alike)
    assert texts(read(folder)) == []
    assert 'class="warning">For' not in report(folder).read_text(encoding="utf-8")


def test_norms_of_a_model_that_give_another_dtype_are_warned_of(make_run: Callable[..., Path]) -> None:
    def held(settings: dict[str, Any]) -> dict[str, Any]:
        return {
            "norm_dtypes": {f"bfloat16 to {'float32' if settings['normalizer'] == 'group_norm' else 'bfloat16'}": 53}
        }

    found = read(run_of(make_run, suite_of(), held))
    assert texts(found)[0].startswith("For bfloat16 input group_norm gives float32:")
    assert "norms take and give bfloat16 to float32 (53)" in {found.own(cell) for cell in found.held}


def test_conditions_that_are_not_known_are_told_by_their_names(make_run: Callable[..., Path]) -> None:
    def held(settings: dict[str, Any]) -> dict[str, Any]:
        return {"some_switch": True, "tried": {"8": {"fits": True, "mib": 3.0}, "16": {"fits": False, "reason": "no"}}}

    assert read(run_of(make_run, suite_of(), held)).everywhere == "some switch on, batches tried: 8, 16 (too large)"


def test_records_without_conditions_tell_nothing(make_run: Callable[..., Path]) -> None:
    found = read(run_of(make_run, suite_of(), lambda _: {}))
    assert (found.everywhere, texts(found), {found.own(cell) for cell in found.held}) == ("", [], {""})
