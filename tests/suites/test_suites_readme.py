"""What the suites' README says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from normzoo_suites import parse_suite
from normzoo_suites.metrics import METRICS
from normzoo_suites.schema import MAX_CELLS
from normzoo_suites.settings import MEASURES

README = (Path(__file__).parents[2] / "suites" / "README.md").read_text(encoding="utf-8")
OF_ALL, *PARTS = re.split(r"^\*\*`(?=\w+`\*\*:)", README, flags=re.MULTILINE)


def rows(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", text, flags=re.MULTILINE))


SHARED = ("training", "timed")
ALONE = ("demonstration",)  # what shares nothing but the settings of every measure
ROWS: dict[str, dict[str, str]] = {}
of_kind: dict[str, str] = {}
for part in PARTS:
    name = part.partition("`")[0]
    if name in SHARED:  # what the measures that follow share
        of_kind = rows(part)
    else:
        ROWS[name] = rows(OF_ALL) | ({} if name in ALONE else of_kind) | rows(part)


def test_the_whole_suite_of_the_readme_can_be_read() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    assert len(parse_suite(text, "README.md").cells()) == 3 * 3 * 10


@pytest.mark.parametrize("measure", MEASURES)
def test_the_readme_tells_every_setting_and_its_default(measure: str) -> None:
    for name, field in MEASURES[measure].model_fields.items():
        told = ROWS[measure][name].strip("`")
        assert told == ("needed" if field.is_required() else str(field.default)), name


def test_the_readme_tells_no_setting_that_there_is_not() -> None:
    assert {measure: set(rows) for measure, rows in ROWS.items()} == {
        measure: set(settings.model_fields) for measure, settings in MEASURES.items()
    }


def test_the_readme_tells_every_metric_and_the_most_cells() -> None:
    assert all(f"`{metric}`" in README for metrics in METRICS.values() for metric in metrics)
    assert f"{MAX_CELLS:,} cells" in README
