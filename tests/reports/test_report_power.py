"""How many pairs would have decided a claim; the power itself is held by test_report_simulations.py."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from normzoo_reports.statistics.power import Needed, needed, power

SEEN = [0.03, -0.01, 0.02, 0.01, 0.04, -0.02, 0.01, 0.02]
AT_THE_MARGIN = "no number of pairs would have decided it: the effect seen lies at the margin"


def test_for_many_pairs_the_power_is_that_of_students_test() -> None:
    level = np.floor(0.05 / 12 * 100_000) / 100_000
    expected = [1 - stats.nct.cdf(stats.t.ppf(1 - level, n - 1), n - 1, 0.3 * n**0.5) for n in (50, 100, 200)]
    assert power(0.3, 1.0, np.array([50, 100, 200]), 6) == pytest.approx(expected, abs=0.001)


def test_with_one_sign_pattern_that_counts_the_power_is_that_of_equal_signs() -> None:
    """Of 9 pairs and 12 claims p ≤ 0.05 / 24 asks that all 9 differences are above."""
    assert power(1.5, 1.0, np.array([9]), 12)[0] == pytest.approx(stats.norm.cdf(1.5) ** 9, abs=0.03)


def test_below_the_seeds_that_any_verdict_needs_there_is_no_power() -> None:
    assert power(100.0, 1.0, np.array([8, 9]), 12) == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize(("shift", "towards"), [(0.0, "supported"), (-0.02, "refuted")])
def test_the_effect_seen_points_to_the_verdict(shift: float, towards: str) -> None:
    found = needed("higher", 0.0, [d + shift for d in SEEN], 6)
    assert found is not None
    assert found.towards == towards


def test_a_claim_and_its_mirror_image_need_as_many() -> None:
    mirrored = needed("higher", -0.002, [-d for d in SEEN], 6)
    assert (needed("higher", 0.002, SEEN, 6) or Needed(None, None)).pairs == (mirrored or Needed(None, None)).pairs


def test_more_claims_need_more_pairs() -> None:
    one, dozen = (needed("higher", 0.0, SEEN, claims) for claims in (1, 12))
    assert one is not None
    assert dozen is not None
    assert (one.pairs or 0) < (dozen.pairs or 0)


def test_equality_needs_more_than_the_nearer_side_alone() -> None:
    """Around 0 both sides are equally far, and both must be rejected."""
    centered = list(np.array(SEEN) - np.mean(SEEN))
    equal, higher = needed("equal", 0.015, centered, 3), needed("higher", -0.015, centered, 3)
    assert equal is not None
    assert higher is not None
    assert (equal.pairs or 0) > (higher.pairs or 0)


@pytest.mark.parametrize(
    ("kind", "margin", "differences", "told"),
    [
        ("higher", 0.01, [0.98 - 0.97] * 10, AT_THE_MARGIN),
        ("equal", 0.02, [-0.01, -0.03, -0.02], AT_THE_MARGIN),
        ("higher", 0.0, [1.0, -0.9, 1.1, -1.0], "would have needed more than 200 pairs to be supported"),
        ("higher", 0.0, [0.2] * 5, "would have needed about 9 pairs to be supported"),
        ("equal", 0.1, [0.2] * 5, "would have needed about 9 pairs to be refuted"),
    ],
)
def test_what_is_needed_is_told(kind: str, margin: float, differences: list[float], told: str) -> None:
    found = needed(kind, margin, differences, 12)
    assert found is not None
    assert found.text == told


def test_two_pairs_tell_no_scatter_and_so_nothing_is_said() -> None:
    assert needed("higher", 0.0, [0.1, 0.2], 6) is None


def test_more_pairs_are_asked_for_than_those_that_decided_nothing() -> None:
    found = needed("higher", 0.0, [0.2] * 19 + [0.21], 1)
    assert found is not None
    assert found.pairs == 21


def test_a_dozen_claims_are_computed_at_once() -> None:
    needed("equal", 0.02, SEEN, 12)  # imports scipy
    start = time.perf_counter()
    for _ in range(12):
        needed("equal", 0.02, SEEN, 12)
    assert time.perf_counter() - start < 0.5  # 0.015 s alone; a machine that is busy is given more
