"""Records: exactly the documented keys, whole or refused, and never a number that JSON does not have."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from normzoo_suites import FINAL, Record, SuiteError, read_record

KEYS = [
    "schema", "id", "suite", "measure", "settings", "status", "reason", "metrics", "series", "samples", "card",
    "source_hash", "data_fingerprint", "split", "conditions", "environment", "log", "seconds", "command",
]  # fmt: skip


def made(**told: Any) -> Record:
    least = {
        "id": "0123456789abcdef",
        "suite": "small",
        "measure": "accuracy",
        "settings": {"ranks": 4},
        "status": "ok",
    }
    return Record(**(least | told))


def changed(**told: Any) -> str:
    return json.dumps(json.loads(made().to_json()) | told)


def test_a_record_has_exactly_the_documented_keys_in_their_order() -> None:
    assert list(json.loads(made().to_json())) == KEYS


def test_a_record_reads_back_as_it_was() -> None:
    record = made(
        metrics={"test_accuracy": 0.1 + 0.2},
        series={"train_loss": [1.0, 1e-300]},
        samples={"step_ms": []},
        card={"name": "é", "pools": ["batch"], "options": {"eps": 1e-5, "groups": None}},
        environment={"dirty": False, "cores": 2},
        reason='it said "no"\nand ended',
        seconds=1.25,
    )
    assert read_record(record.to_json(), "x.json") == record


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_left_out(value: float) -> None:
    record = made(metrics={"test_loss": value, "test_accuracy": 0.5})
    assert record.metrics == {"test_accuracy": 0.5}


def test_a_series_ends_before_its_first_value_that_is_not_finite() -> None:
    record = made(series={"train_loss": [2.0, 1.0, math.nan, 3.0]}, samples={"step_ms": [math.inf, 1.0]})
    assert record.series == {"train_loss": [2.0, 1.0]}
    assert record.samples == {"step_ms": []}


def test_what_json_cannot_hold_is_written_as_its_text() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    record = made(card={"options": {"r_max": math.inf, "shape": (1, 2), "kind": Odd(), 3: math.nan}})
    text = record.to_json()
    assert json.loads(text)["card"]["options"] == {"r_max": "inf", "shape": [1, 2], "kind": "odd", "3": "nan"}
    assert read_record(text, "x.json") == record


def test_a_record_from_before_splits_were_told_is_read() -> None:
    older = json.loads(made().to_json())
    del older["split"], older["conditions"], older["log"]
    assert read_record(json.dumps(older), "x.json") == made()


def test_every_truncation_of_a_record_is_refused() -> None:
    text = made(metrics={"test_accuracy": 0.5}).to_json()
    for length in range(len(text)):
        with pytest.raises(SuiteError, match=r"cannot read the record x.json: "):
            read_record(text[:length], "x.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"\x00" * 100, "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "it must hold an object, got a list of 0"),
        ("3", "it must hold an object, got 3"),
        ("{}", "its schema must be 1, got None"),
        (changed(schema="1"), "its schema must be 1, got '1'"),
        (changed(schema=0), "its schema must be 1, got 0"),
        (changed(status="fine"), "status: must be 'ok', "),
        (changed(metrics=[]), "metrics: must be a table, got a list of 0"),
        (changed(metrics={"a": None}), "metrics.a: must be a valid number, got None"),
        (changed(metric={}), "unknown key 'metric'; did you mean 'metrics'?"),
        (changed(metrics={"a": 0}).replace("0}", "NaN}"), "not valid JSON: NaN is not JSON"),
        (changed().replace('"command"', '"comand"'), "command is missing"),
    ],
)
def test_what_is_no_record_is_refused_in_one_line(text: str | bytes, said: str) -> None:
    with pytest.raises(SuiteError) as caught:
        read_record(text, "x.json")
    assert str(caught.value).startswith(f"cannot read the record x.json: {said}")
    assert "\n" not in str(caught.value)


def test_a_newer_schema_is_refused_by_name_whatever_else_it_holds() -> None:
    with pytest.raises(SuiteError, match=r"the record x.json has schema 2, .* reads up to 1; install a newer normzoo"):
        read_record(changed(schema=2, something_new={}), "x.json")


def test_results_and_faults_are_told_apart() -> None:
    assert frozenset({"ok", "skipped", "diverged", "oom"}) == FINAL
