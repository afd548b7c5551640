"""Parts of a plan: together they are the plan, and what must stay together does."""

from __future__ import annotations

from collections import defaultdict

import pytest

from normzoo_bench import commands
from normzoo_bench.errors import UsageError
from normzoo_bench.planner import Plan
from normzoo_bench.shards import parse, part
from normzoo_suites import Suite, load_suite
from normzoo_suites.selection import condition
from normzoo_suites.selection import trials as trials_of

SUITES = ["quick", "momentum", "throughput_cpu", "batch_size", "non_iid_ranks"]
COUNTS = [1, 2, 3, 7]


@pytest.fixture(scope="module", params=SUITES)
def suite(request: pytest.FixtureRequest) -> Suite:
    return load_suite(request.param)


@pytest.mark.parametrize("count", COUNTS)
def test_the_parts_are_the_plan_and_no_cell_is_in_two(suite: Suite, count: int) -> None:
    cells = suite.cells()
    parts = [part(suite, cells, (number, count)) for number in range(1, count + 1)]
    ids = [cell.id for one in parts for cell in one]
    assert sorted(ids) == sorted(cell.id for cell in cells)


@pytest.mark.parametrize("count", [2, 3])
def test_no_part_has_more_than_twice_what_another_has(suite: Suite, count: int) -> None:
    sizes = [len(part(suite, suite.cells(), (number, count))) for number in range(1, count + 1)]
    assert max(sizes) <= 2 * min(sizes)


@pytest.mark.parametrize("count", COUNTS)
def test_all_trials_of_a_condition_are_in_the_part_of_what_they_tune(count: int) -> None:
    suite = load_suite("batch_size")
    assert suite.select is not None
    cells = suite.cells()
    for number in range(1, count + 1):
        own = part(suite, cells, (number, count))
        needed = {trial.id for trial in trials_of(suite.select, own)}
        assert {trial.id for trial in part(suite, trials_of(suite.select, cells), (number, count))} == needed


def test_a_tuned_cell_is_in_the_part_of_its_draft() -> None:
    """Once it is tuned it has another learning rate, and another id."""
    suite = load_suite("batch_size")
    assert suite.select is not None
    key = next(iter(suite.select.grid))
    for number in (1, 2, 3):
        drafts = part(suite, suite.cells(), (number, 3))
        tuned = [type(one)(one.measure, one.protocol, one.settings.model_copy(update={key: 0.7})) for one in drafts]
        assert part(suite, tuned, (number, 3)) == tuned
        assert {condition(suite.select, one) for one in tuned} == {condition(suite.select, one) for one in drafts}


def test_who_is_timed_against_whom_stays_on_one_machine() -> None:
    suite = load_suite("throughput_cpu")
    where = defaultdict(set)
    for number in (1, 2, 3):
        for cell in part(suite, suite.cells(), (number, 3)):
            settings = cell.settings.model_dump(exclude={"normalizer"})
            where[cell.measure, str(settings)].add(number)
    assert {len(machines) for machines in where.values()} == {1}


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "a/b", "1/0", "-1/3", "1/3/5", "1.5/3"])
def test_a_part_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="such as 1/3, 2/3 or 3/3"):
        parse(text)


def test_a_part_is_read() -> None:
    assert parse(" 2 / 16 ") == parse((2, 16)) == (2, 16)
    assert parse(None) is None


def counted(plan: Plan) -> int:
    return len(plan.to_do(plan.part(plan.cells)))


def test_a_plan_counts_its_part(tiny: str) -> None:
    parts = [counted(commands.plan(tiny, shard=f"{number}/3")) for number in (1, 2, 3)]
    assert sum(parts) == counted(commands.plan(tiny)) == 11
    assert min(parts) >= 2
