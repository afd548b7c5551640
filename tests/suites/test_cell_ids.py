"""A cell's id: the same question has the same id, on any machine and in any version; another has another."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from normzoo_suites import Cell
from normzoo_suites.settings import MEASURES

Make = Callable[..., Cell]


def test_ids_are_what_they_have_always_been(cell: Make) -> None:
    """A change here loses every record that was ever made: it is never mended by writing the new ids down."""
    linear = {"batch_size": 128, "learning_rate": "linear(rate=0.1, per=128)", "seed": 3}
    assert cell().id == "fa306a42597df6c9"
    assert cell(normalizer="group_norm(groups=8)", **linear).id == "eb4ddc1c9003e7c2"
    assert cell("throughput", dtype="bfloat16").id == "c7a189951661c121"


@pytest.mark.parametrize("measure", MEASURES)
def test_a_setting_at_its_default_stays_out_of_the_id(cell: Make, measure: str) -> None:
    plain = cell(measure)
    for name, field in MEASURES[measure].model_fields.items():
        if not field.is_required():
            assert cell(measure, **{name: field.default}).id == plain.id, name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"learning_rate": 1}, {"learning_rate": 1.0}),
        ({"learning_rate": 0.1}, {"learning_rate": 1e-1}),
        ({"weight_decay": 0}, {"weight_decay": -0.0}),
        ({"learning_rate": "linear(rate=1, per=64)"}, {"learning_rate": "linear( per=64.0,rate=1.0 )"}),
        ({"normalizer": "group_norm(groups=8)"}, {"normalizer": "group_norm( groups = 8 )"}),
        ({"split": "shards(k=2)"}, {"split": "shards(k=2.0)"}),
    ],
)
def test_two_spellings_of_one_setting_have_one_id(cell: Make, one: dict[str, object], other: dict[str, object]) -> None:
    assert cell(**one).id == cell(**other).id


def test_the_order_of_settings_does_not_matter(cell: Make) -> None:
    told = {"ranks": 4, "seed": 1, "epochs": 2}
    assert cell(**told).id == cell(**dict(reversed(told.items()))).id


def test_what_the_plan_says_of_a_cell_is_not_part_of_its_id(cell: Make) -> None:
    plain = cell()
    assert Cell(plain.measure, plain.protocol, plain.settings, "a reason", "another").id == plain.id


@pytest.mark.parametrize(
    "told",
    [{"protocol": 2}, {"seed": 1}, {"ranks": 4}, {"batch_size": 80}, {"learning_rate": 0.2}, {"device": "cuda"},
     {"normalizer": "group_norm(groups=8)"}, {"train_samples": 100}, {"buffers": "mean"}],
)  # fmt: skip
def test_another_question_has_another_id(cell: Make, told: dict[str, object]) -> None:
    assert cell(**told).id != cell().id


def test_measures_with_equal_settings_have_different_ids(cell: Make) -> None:
    settings = cell("throughput").settings
    assert Cell("throughput", 1, settings).id != Cell("accuracy", 1, settings).id


def test_an_id_is_a_file_name_everywhere(cell: Make) -> None:
    assert len(cell().id) == 16
    assert set(cell().id) <= set("0123456789abcdef")


def test_a_cell_reads_back_from_json_with_the_same_id(cell: Make) -> None:
    cells = [cell(), cell("throughput"), Cell("accuracy", 3, cell(ranks=4).settings, "why not", "0123")]
    for one in cells:
        back = Cell.from_json(json.loads(json.dumps(one.to_json())))
        assert back == one
        assert back.id == one.id


@pytest.mark.parametrize(
    ("told", "rate"),
    [({"learning_rate": 0.3}, 0.3), ({"learning_rate": "linear(rate=0.1, per=160)"}, 0.025)],
)
def test_the_linear_rule_scales_the_rate_with_the_batch(cell: Make, told: dict[str, object], rate: float) -> None:
    """0.1 per 160 samples is a quarter of that with 40 (arXiv:1706.02677)."""
    assert cell(**told).settings.rate() == pytest.approx(rate)  # type: ignore[attr-defined]  # of this measure


def test_a_shape_is_the_batch_then_channels_then_space(cell: Make) -> None:
    assert cell("throughput", shape="64x7x5").settings.sizes() == (40, 64, 7, 5)  # type: ignore[attr-defined]  # of this measure
