"""One small suite in TOML, which the tests spoil in one place each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from normzoo_suites import Cell, Suite, SuiteError, parse_suite
from normzoo_suites.settings import MEASURES, TrainingSettings

SMALL = """\
name = "small"
question = "What?"
protocol = 1

[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 1, batch_size = 40 }
[grids.axes]
normalizer = ["batch_norm", "group_norm(groups=8)"]
ranks = [1, 20]
seed = 3

[[grids]]
measure = "throughput"
fixed = { batch_size = 32, shape = "64x8x8" }
[grids.axes]
normalizer = ["batch_norm", "none"]

[[claims]]
id = "small_parts_hurt"
says = "Small parts hurt."
source = "made up"
metric = "test_accuracy"
plus = [{ normalizer = "batch_norm", ranks = 1 }]
minus = [
  { normalizer = "batch_norm", ranks = 20 },
]
is = "higher"
margin = 0.01

[[figures]]
kind = "line"
x = "local_batch"
y = "test_accuracy"
where = { ranks = [1, 20] }

[[figures]]
kind = "point"
measure = "throughput"
x = "step_ms_ratio"
y = "normalizer"
"""


@pytest.fixture
def small() -> Suite:
    return parse_suite(SMALL, "small.toml")


@pytest.fixture
def small_text() -> str:
    return SMALL


@pytest.fixture
def spoiled() -> Callable[[str, str], str]:
    """Give a function that replaces one part of the suite's text and gives the complaint about it."""

    def complaint(old: str, new: str) -> str:
        assert old in SMALL
        with pytest.raises(SuiteError) as caught:
            parse_suite(SMALL.replace(old, new, 1), "small.toml")
        assert type(caught.value) is SuiteError
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return complaint


@pytest.fixture
def cell() -> Callable[..., Cell]:
    """Give a function that makes an accuracy cell (or another measure's) from few settings."""

    def make(measure: str = "accuracy", protocol: int = 1, **told: object) -> Cell:
        least: dict[str, object] = {"normalizer": "batch_norm", "batch_size": 40}
        if issubclass(MEASURES[measure], TrainingSettings):
            least |= {"dataset": "digits", "model": "mlp", "epochs": 6}
        elif measure not in ("throughput", "demonstration"):
            least |= {"model": "resnet20"}
        needed = {"throughput": {"shape": "64x8x8"}, "statistics_noise": {"samples": 8}}
        needed["demonstration"] = {"shows": "undone"}
        least |= needed.get(measure, {})
        return Cell(measure, protocol, MEASURES[measure].model_validate(least | told))

    return make
