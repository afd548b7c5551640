"""What the verdicts and intervals promise, held by simulation: the shipped functions on made-up differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest

from normzoo_reports.findings.verdicts import hypotheses
from normzoo_reports.statistics.power import needed, power
from normzoo_reports.statistics.signs import holm, interval, sign_flip
from normzoo_suites.claims import ALPHA

Kind = Literal["higher", "equal"]
Draw = Callable[..., np.ndarray]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(1)


def decided(differences: np.ndarray, claims: list[tuple[Kind, float]]) -> np.ndarray:
    """For one run, a row of differences per claim: whether each claim was supported, and refuted."""
    tests = zip(claims, differences, strict=True)
    p = holm([p for (kind, margin), row in tests for p in hypotheses(kind, margin, row)])
    return np.array(p).reshape(-1, 2) <= ALPHA


def off_by(share: float, runs: int, errors: float = 3) -> float:
    """So many standard errors of a share of so many simulated runs."""
    return errors * (share * (1 - share) / runs) ** 0.5


MIXED: list[tuple[Kind, float]] = [("higher", 0.0), ("equal", 2.0), ("higher", 2.0), ("equal", 2.0)] * 3
AT_THEIR_MARGINS = np.array([0.0, 2.0, 2.0, -2.0] * 3)[:, None]
"""Where the truth is at the margin neither verdict is true; margins of 2 standard deviations make equality provable."""


def false_verdicts(random: np.random.Generator, runs: int) -> float:
    every = random.normal(0, 1, (runs, 12, 10)) + AT_THEIR_MARGINS
    return float(np.mean([decided(differences, MIXED).any() for differences in every]))


def test_a_dozen_claims_at_their_margins_bring_few_false_verdicts(random: np.random.Generator) -> None:
    assert 0.03 < false_verdicts(random, 2000) < ALPHA + off_by(ALPHA, 2000)


@pytest.mark.slow
def test_a_dozen_claims_at_their_margins_bring_a_false_verdict_in_under_five_percent_of_suites(
    random: np.random.Generator,
) -> None:
    """Of 1,024 sign patterns 2 count in Holm's first step, so that at most 24 · 2 / 1024 = 4.7 % are false, and more
    only by its later ones.
    """
    assert false_verdicts(random, 20_000) < ALPHA


def test_claims_that_share_their_runs_bring_no_more_false_verdicts(random: np.random.Generator) -> None:
    """A suite compares everything with one batch norm, so that its claims' differences go together."""
    shared, own = random.normal(0, 0.8, (2000, 1, 10)), random.normal(0, 0.6, (2000, 12, 10))
    found = [decided(differences, MIXED).any() for differences in shared + own + AT_THEIR_MARGINS]
    assert np.mean(found) < ALPHA + off_by(ALPHA, 2000)


def test_normalizers_that_do_the_same_bring_few_false_verdicts_however_skewed_their_accuracies(
    random: np.random.Generator,
) -> None:
    """Two draws of one distribution differ symmetrically; equality is true here, its refutation false."""
    claims: list[tuple[Kind, float]] = [("higher", 0.0), ("equal", 0.02)] * 6
    plus, minus = random.exponential(1, (2, 2000, 12, 10))
    false = [found[::2].any() or found[1::2, 1].any() for found in (decided(one, claims) for one in plus - minus)]
    assert np.mean(false) < ALPHA + off_by(ALPHA, 2000)


def test_skewed_differences_at_a_margin_bring_more_false_verdicts_and_the_readme_says_so(
    random: np.random.Generator,
) -> None:
    """The test asks for symmetry, which exponential differences lack."""
    every = random.exponential(1, (1000, 12, 10)) - 1 + AT_THEIR_MARGINS
    assert 0.1 < np.mean([decided(differences, MIXED).any() for differences in every]) < 0.3


@pytest.mark.parametrize("claims", [1, 6])
@pytest.mark.parametrize(("kind", "margin", "mean"), [("higher", 0.5, 0.5), ("equal", 0.05, 0.0), ("equal", 0.5, 0.5)])
def test_a_family_gives_a_false_verdict_in_at_most_five_percent(
    random: np.random.Generator, kind: Kind, margin: float, mean: float, claims: int
) -> None:
    """At the margin both verdicts are false; within it, for a small margin, only the refutation is."""
    every = random.normal(mean, 1, (400, claims, 10))
    found = [decided(differences, [(kind, margin)] * claims) for differences in every]
    false = [one[:, 1].any() if mean < margin else one.any() for one in found]
    assert np.mean(false) < ALPHA + off_by(ALPHA, 400)


def covered(draws: np.ndarray) -> float:
    """The share of rows, of differences with the mean 0, whose interval holds it."""
    return float(np.mean([low <= 0 <= high for low, high in map(interval, draws)]))


FEW, MANY = range(6, 13), range(13, 17)
COVERAGE = [*FEW, *(pytest.param(n, marks=pytest.mark.slow) for n in MANY)]


@pytest.mark.parametrize("n", COVERAGE)
def test_intervals_of_normal_differences_cover_at_least_94_percent(random: np.random.Generator, n: int) -> None:
    assert covered(random.normal(0, 1, (4000, n))) >= 0.94


@pytest.mark.parametrize("n", COVERAGE)
def test_intervals_of_exponential_differences_cover_at_least_89_percent(random: np.random.Generator, n: int) -> None:
    assert covered(random.exponential(1, (4000, n)) - 1) >= 0.89


@pytest.mark.parametrize(("effect", "stated"), [(1, 0.44), (2, 0.98)])
def test_the_power_for_one_true_claim_of_six_is_the_designs(
    random: np.random.Generator, effect: float, stated: float
) -> None:
    means = np.array([effect, 0, 0, 0, 0, 0])[:, None]
    every = means + random.normal(0, 1, (4000, 6, 10))
    hits = [decided(differences, [("higher", 0.0)] * 6)[0, 0] for differences in every]
    assert np.mean(hits) == pytest.approx(stated, abs=off_by(stated, 4000) + 0.005)  # stated to two digits


def expected(claims: int, effect: float, pairs: int) -> float:
    return float(power(effect, 1.0, np.array([pairs]), claims)[0])


def rejected(random: np.random.Generator, runs: int, claims: int, effect: float, pairs: int) -> float:
    """The share of runs in which the test itself rejects, at Holm's first step."""
    rows = random.normal(effect, 1, (runs, pairs))
    return float(np.mean([sign_flip(row)[0] <= ALPHA / (2 * claims) for row in rows]))


@pytest.mark.parametrize(
    ("claims", "effect", "pairs"),
    [(1, 0.8, 12), (1, 1.0, 8), (6, 1.0, 14), (6, 1.5, 9), (6, 2.0, 8), (12, 1.0, 16), (12, 1.5, 10), (12, 2.0, 9)],
)
def test_the_power_that_is_computed_is_that_of_the_test(
    random: np.random.Generator, claims: int, effect: float, pairs: int
) -> None:
    """With 8 pairs of 6 claims and 9 of 12 a single sign pattern counts, where the normal theory is at its worst."""
    assert expected(claims, effect, pairs) == pytest.approx(
        rejected(random, 1500, claims, effect, pairs), abs=0.03 + off_by(0.8, 1500, 2)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("claims", "effect", "pairs"), [(6, 0.6, 36), (12, 0.4, 90)])
def test_the_power_that_is_computed_is_that_of_the_test_with_random_flips(
    random: np.random.Generator, claims: int, effect: float, pairs: int
) -> None:
    assert expected(claims, effect, pairs) == pytest.approx(
        rejected(random, 150, claims, effect, pairs), abs=off_by(0.8, 150)
    )


@pytest.mark.parametrize(
    ("kind", "margin", "mean"), [("higher", 0.0, 1.0), ("higher", 1.2, 0.1), ("equal", 1.2, 0.1), ("equal", 0.3, -1.3)]
)
def test_so_many_pairs_as_are_needed_decide_in_four_of_five_runs(
    random: np.random.Generator, kind: Kind, margin: float, mean: float
) -> None:
    """Six claims, of which the others are at their margins; 8 pairs were seen, with this mean and a deviation of 1."""
    seen = random.normal(0, 1, 8)
    found = needed(kind, margin, list(mean + (seen - seen.mean()) / seen.std(ddof=1)), 6)
    assert found is not None
    assert found.pairs is not None
    assert found.pairs <= 16
    means = np.array([mean, 0, 0, 0, 0, 0])[:, None]
    claims: list[tuple[Kind, float]] = [(kind, margin), *[("higher", 0.0)] * 5]
    side = ("supported", "refuted").index(found.towards or "")
    every = means + random.normal(0, 1, (400, 6, found.pairs))
    hits = [decided(differences, claims)[0, side] for differences in every]
    assert 0.8 - 0.03 - off_by(0.8, 400, 2) < np.mean(hits) < 0.93
