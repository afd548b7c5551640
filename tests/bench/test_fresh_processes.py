"""Which timed cells share a process, and in what order they are measured there."""

from __future__ import annotations

from normzoo_bench.running.jobs import processes
from normzoo_suites import Cell
from normzoo_suites.settings import ThroughputSettings


def cell(normalizer: str, repeat: int = 0, shape: str = "8x4x4") -> Cell:
    return Cell("throughput", 1, ThroughputSettings(normalizer=normalizer, shape=shape, batch_size=4, repeat=repeat))


NAMES = ["batch_norm", "group_norm", "layer_norm", "batch_renorm", "none"]
REPEATED = [cell(name, repeat) for name in NAMES for repeat in range(6)]
ONCE = [cell(name, shape="16") for name in NAMES]


def repeats(group: list[Cell]) -> set[int]:
    return {one.settings.replicate for one in group}


def test_every_repeat_has_a_process_of_its_own_that_measures_every_candidate() -> None:
    groups = processes(REPEATED, REPEATED)
    assert [repeats(group) for group in groups] == [{0}, {1}, {2}, {3}, {4}, {5}]
    assert all({one.settings.normalizer for one in group} == set(NAMES) for group in groups)


def test_the_order_of_candidates_differs_from_process_to_process_and_not_from_run_to_run() -> None:
    orders = [tuple(one.settings.normalizer for one in group) for group in processes(REPEATED, REPEATED)]
    assert len(set(orders)) > 3
    again = [tuple(one.settings.normalizer for one in group) for group in processes(REPEATED[::-1], REPEATED)]
    assert orders == again


def test_what_claims_rest_on_comes_before_what_is_measured_once() -> None:
    groups = processes([*ONCE, *REPEATED], [*ONCE, *REPEATED])
    assert groups[-1] == ONCE
    assert sum(map(len, groups)) == len(ONCE) + len(REPEATED)


def test_without_repeats_one_process_measures_all_in_the_suites_order() -> None:
    assert processes(ONCE, ONCE) == [ONCE]
    assert processes([], ONCE) == []


def test_what_is_left_of_a_run_has_the_processes_and_the_order_that_it_would_have_had() -> None:
    whole = processes(REPEATED, REPEATED)
    left = [group[2:] for group in whole]
    assert processes([one for group in left for one in group], REPEATED) == left
    assert processes(whole[5], REPEATED) == [whole[5]]
