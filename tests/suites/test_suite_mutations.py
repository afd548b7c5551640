"""Whatever a suite becomes, reading it gives a suite or a SuiteError in one line, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from normzoo_suites import Suite, SuiteError, parse_suite
from normzoo_suites.claims import check_claims
from normzoo_suites.figures import check_figures
from normzoo_suites.load import read_suite

WORDS = [
    *("=", "[", "]", "{", "}", ",", '"', "'", '"""', "#", "[[grids]]", "[[claims]]", "[grids.axes]", "[claims.plus]"),
    *("nan", "-1", "0", "1e999", "true", "[]", "{}", "''", "1979-05-27", "9" * 20, "0.5", "'batch_norm('", "[[1]]"),
    *("normalizer", "seed", "ranks", "step_ms", "accuracy", "fixed", "\x00", "é", "inf", "[{a=1}]", "a.b.c"),
]
VALUES = [None, True, -1, 0, 1, 10**30, 0.5, float("nan"), "", "x", "step_ms", "a(b=1)", [], [1], ["x"], {}, {"a": 1}]


def complaint(read: Callable[[], Suite]) -> str | None:
    """What is wrong with a suite, or None; any other exception is the test's failure."""
    try:
        suite = read()
    except SuiteError as error:
        return str(error)
    assert Suite.model_validate(suite.to_json()) == suite
    return None


def spoiled_text(text: str, draw: random.Random) -> str:
    """Drop or double a line, or replace, insert or cut a word."""
    lines = text.split("\n")
    at = draw.randrange(len(lines))
    words = lines[at].split(" ")
    word = draw.randrange(len(words))
    news = [[], [words[word]] * 2, [words[word][:-1]], [draw.choice(WORDS)], [words[word], draw.choice(WORDS)]]
    changed = " ".join([*words[:word], *draw.choice(news), *words[word + 1 :]])
    lines[at : at + 1] = draw.choice([[], [lines[at]] * 2, [changed], [changed], [changed]])
    return "\n".join(lines)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_spoiled_text_is_a_suite_or_a_suite_error_in_one_line(small_text: str, times: int) -> None:
    draw = random.Random(times)
    for _ in range(300):
        text = small_text
        for _ in range(times):
            text = spoiled_text(text, draw)
        said = complaint(lambda text=text: parse_suite(text, "small.toml"))
        assert said is None or (said.startswith("small.toml") and "\n" not in said), text


def spoil_data(data: Any, draw: random.Random) -> None:
    """Put a random value at a random place."""
    while True:
        keys = list(data if isinstance(data, dict) else range(len(data)))
        deeper = [key for key in keys if isinstance(data[key], dict | list) and data[key]]
        if not deeper or draw.random() < 0.2:
            data[draw.choice(keys)] = draw.choice(VALUES)
            return
        data = data[draw.choice(deeper)]


def test_spoiled_data_is_a_suite_or_a_suite_error_in_one_line(small: Suite) -> None:
    """Valid TOML with other values, and what only a spoiled run.json can hold."""
    draw = random.Random(0)
    for _ in range(1500):
        data = small.to_json()
        spoil_data(data, draw)

        def read(data: dict[str, Any] = data) -> Suite:
            suite = read_suite(data)
            check_claims(suite, suite.cells())
            check_figures(suite, suite.cells())
            return suite

        said = complaint(read)
        assert said is None or "\n" not in said, data
