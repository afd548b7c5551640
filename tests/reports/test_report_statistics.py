"""The exact tests and intervals, against brute force, scipy and worked examples."""

from __future__ import annotations

import itertools
import statistics as plain

import numpy as np
import pytest
from scipy import stats

from normzoo_reports.statistics.signs import holm, interval, sign_flip
from normzoo_suites.claims import seeds_needed


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(1)


def brute_force(values: list[float], center: float) -> tuple[float, float]:
    """Every flip in turn, in exact arithmetic: multiples of 1/8 have exact sums."""
    shifted = [value - center for value in values]
    observed = sum(shifted)
    sums = [
        sum(s * v for s, v in zip(signs, shifted, strict=True))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    return sum(s >= observed for s in sums) / len(sums), sum(s <= observed for s in sums) / len(sums)


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_sign_flip_counts_what_brute_force_counts(random: np.random.Generator, n: int) -> None:
    values = [round(8 * value) / 8 for value in random.normal(0.3, 1, n)]
    assert sign_flip(values, 0.125) == brute_force(values, 0.125)


@pytest.mark.parametrize(("side", "alternative"), [(0, "greater"), (1, "less")])
def test_sign_flip_agrees_with_scipys_permutation_test(
    random: np.random.Generator, side: int, alternative: str
) -> None:
    values = random.normal(0.4, 1, 10)
    expected = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative=alternative
    )
    assert sign_flip(list(values))[side] == pytest.approx(expected.pvalue)


def test_the_smallest_p_is_one_in_two_to_the_n() -> None:
    assert sign_flip([0.3, 0.1, 0.2, 0.5, 0.4])[0] == 2**-5


def test_differences_that_equal_the_margin_but_for_rounding_show_nothing() -> None:
    assert sign_flip([0.98 - 0.97] * 10, 0.01) == (1.0, 1.0)


def test_random_flips_come_near_the_exact_p_and_never_reach_zero(random: np.random.Generator) -> None:
    values = list(random.normal(0.25, 1, 17))
    # exact by halves: the sum over all 17 is the sum over 8 plus the sum over 9
    halves = [np.array(list(itertools.product((1, -1), repeat=len(h)))) @ h for h in (values[:8], values[8:])]
    exact = float(np.mean(np.add.outer(*halves) >= sum(values) - 1e-12))
    assert sign_flip(values)[0] == pytest.approx(exact, abs=4 * (exact / 100_000) ** 0.5)
    assert sign_flip([1.0] * 40)[0] == 1e-5
    assert sign_flip(values) == sign_flip(values)


@pytest.mark.parametrize("n", [6, 7, 10])
def test_the_interval_holds_the_centers_that_neither_test_rejects(random: np.random.Generator, n: int) -> None:
    values = list(random.normal(0.5, 1, n))
    low, high = interval(values) or (0.0, 0.0)
    kept = [
        c for c in np.linspace(min(values) - 0.1, max(values) + 0.1, 1500) if min(sign_flip(values, float(c))) > 0.025
    ]
    step = (max(values) - min(values) + 0.2) / 1499
    assert low == pytest.approx(min(kept), abs=1.01 * step)
    assert high == pytest.approx(max(kept), abs=1.01 * step)


def test_five_values_have_no_interval_and_six_have_their_range() -> None:
    values = [0.1, 0.5, 0.2, 0.9, 0.3, 0.4]
    assert interval(values[:5]) is None
    assert interval(values) == (0.1, 0.9)


@pytest.mark.parametrize("n", [7, 10, 25])
def test_equal_values_have_an_interval_without_width(n: int) -> None:
    assert interval([0.25] * n) == (0.25, 0.25)


def test_from_twenty_values_the_interval_is_near_students(random: np.random.Generator) -> None:
    values = list(random.normal(0, 1, 24))
    expected = stats.t.interval(0.95, 23, plain.mean(values), plain.stdev(values) / 24**0.5)
    assert interval(values) == pytest.approx(expected, abs=0.12)


def test_more_values_than_a_float_has_powers_of_two_have_an_interval(random: np.random.Generator) -> None:
    """2.0 ** 1024 is no float."""
    low, high = interval(list(random.normal(3, 1, 1024))) or (0.0, 0.0)
    assert high - low == pytest.approx(2 * 1.96 / 1024**0.5, rel=0.1)


def test_holm_gives_the_worked_example() -> None:
    """As R's p.adjust(c(.01, .04, .03, .005), "holm") gives it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(("claims", "seeds"), [(1, 6), (3, 7), (6, 8), (12, 9), (25, 10)])
def test_seeds_needed_are_those_of_the_design(claims: int, seeds: int) -> None:
    assert seeds_needed(claims) == seeds
