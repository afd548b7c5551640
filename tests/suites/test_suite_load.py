"""Suites as they are loaded: the built-in ones, their cells, and what a command line changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from normzoo_suites import Suite, SuiteError, change_suite, load_suite, suite_names


def settings_of(suite: Suite, key: str) -> list[object]:
    """The values of a setting over the suite's cells, each once, in order."""
    return list(dict.fromkeys(getattr(cell.settings, key) for cell in suite.cells() if hasattr(cell.settings, key)))


BUILT_IN = [
    "batch_effects", "batch_size", "demonstrations", "depth", "federated", "group_count", "initialization",
    "landscape", "learning_rate", "memory", "model_throughput", "momentum", "non_iid_batches", "non_iid_ranks",
    "normalization_batch", "quick", "skewed_steps", "streaming", "sync_cost", "throughput", "throughput_cpu",
    "throughput_gpu", "train_eval",
]  # fmt: skip


def test_the_built_in_suites_are_found_by_name() -> None:
    assert suite_names() == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_suite_loads_and_has_its_own_name(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert suite.cells()


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_suite_with_claims_has_ten_seeds_or_repeats_and_at_most_twelve_claims(name: str) -> None:
    suite = load_suite(name)
    assert len(suite.claims) <= 12
    for claim in suite.claims:
        own = [cell.settings.replicate for cell in suite.cells() if cell.measure == claim.measure]
        assert sorted(set(own)) == list(range(10))


def test_a_suite_is_loaded_from_any_path(tmp_path: Path, small_text: str) -> None:
    (tmp_path / "anything.toml").write_text(small_text, encoding="utf-8")
    assert load_suite(str(tmp_path / "anything.toml")).name == "small"


def test_the_cells_are_every_combination_of_the_axes(small: Suite) -> None:
    accuracy = [cell.settings for cell in small.cells() if cell.measure == "accuracy"]
    found = {(s.normalizer, s.ranks, s.seed) for s in accuracy}  # type: ignore[attr-defined]  # of this measure
    assert found == {(n, r, s) for n in ("batch_norm", "group_norm(groups=8)") for r in (1, 20) for s in (0, 1, 2)}
    assert len(accuracy) == 12


def test_a_cell_that_two_grids_name_is_there_once(small: Suite) -> None:
    twice = small.model_copy(update={"grids": [*small.grids, small.grids[0]]})
    assert [cell.id for cell in twice.cells()] == [cell.id for cell in small.cells()]


def test_cells_come_seed_by_seed_so_that_a_part_of_a_run_holds_whole_pairs(small: Suite) -> None:
    seeds = [getattr(cell.settings, "seed", -1) for cell in small.cells()]
    assert seeds == sorted(seeds)


def test_a_suite_reads_back_from_the_form_that_run_json_keeps(small: Suite) -> None:
    assert Suite.model_validate(small.to_json()) == small


@pytest.mark.parametrize(
    ("key", "text", "values"),
    [
        ("ranks", "1,2,4", [1, 2, 4]),
        ("ranks", " 2 , 4 ,", [2, 4]),
        ("learning_rate", "1e-3", [0.001]),
        ("learning_rate", "1,.5", [1.0, 0.5]),
        (
            "learning_rate",
            "linear(rate=1, per=8),linear(per=4,rate=2)",
            ["linear(per=8, rate=1)", "linear(per=4, rate=2)"],
        ),
        ("normalizer", "group_norm(groups=2),none", ["group_norm(groups=2)", "none"]),
        ("split", "dirichlet_by_client(alpha=0.1, k=2)", ["dirichlet_by_client(alpha=0.1, k=2)"]),
        ("seed", "7", [7]),
        ("seed", "3,5", [3, 5]),
        ("train_samples", "100,all", [100, "all"]),
        ("shape", "64,32x8", ["64", "32x8"]),
        ("dataset", "123", ["123"]),
        ("dataset", "data/bob's set,data/ann's", ["data/bob's set", "data/ann's"]),
        ("model", "nan", ["nan"]),
        ("device", "cuda", ["cuda"]),
    ],
)
def test_set_replaces_a_fixed_value_or_an_axis(small: Suite, key: str, text: str, values: list[object]) -> None:
    assert settings_of(change_suite(small, {key: text}), key) == values


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("rank", "1", "unknown setting 'rank' in suite small; did you mean 'ranks'?"),
        ("ranks", " , ", "--set ranks= has no value"),
        ("ranks", "two", "ranks: must be a valid integer, got 'two'"),
        ("ranks", "-2", "ranks: must be greater than or equal to 1, got -2"),
        ("ranks", "2.5", "ranks: must be a valid integer, got 2.5"),
        ("ranks", "3", "ranks must divide batch_size, and 3 does not divide 40; the nearest that do: 1, 2, 4, 5, 8"),
        ("learning_rate", "-1", "learning_rate: must be a number above 0"),
        ("learning_rate", "nan", "learning_rate: must be a number above 0"),
        ("weight_decay", "inf", "weight_decay: must be a finite number, got inf"),
        ("device", "gpu", "device: must be 'cpu' or 'cuda', got 'gpu'"),
        ("normalizer", "group_norm(8)", "cannot read the option '8' in 'group_norm(8)'"),
        ("normalizer", "group_norm(groups=8", "cannot read 'group_norm(groups=8'"),
    ],
)
def test_set_refuses_what_a_setting_does_not_take(small: Suite, key: str, text: str, said: str) -> None:
    with pytest.raises(SuiteError) as caught:
        change_suite(small, {key: text})
    assert str(caught.value).startswith(said)


def test_set_reaches_every_measure_that_has_the_setting_and_no_other(small: Suite) -> None:
    changed = change_suite(small, {"batch_size": "80", "dtype": "bfloat16"})
    assert settings_of(changed, "batch_size") == [80]
    assert settings_of(changed, "dtype") == ["bfloat16"]
    assert {cell.measure for cell in changed.cells()} == {"accuracy", "throughput"}


def test_seeds_counts_from_zero(small: Suite) -> None:
    assert settings_of(change_suite(small, seeds=2), "seed") == [0, 1]


@pytest.mark.parametrize("seeds", [0, -1, 10**12])
def test_an_impossible_count_of_seeds_is_refused(small: Suite, seeds: int) -> None:
    with pytest.raises(SuiteError, match="seeds must be a number from 1 to 100000"):
        change_suite(small, seeds=seeds)


def test_a_setting_that_is_given_twice_is_refused(small: Suite) -> None:
    with pytest.raises(SuiteError, match="seed is given by --set seed= and by --seeds; keep one"):
        change_suite(small, {"seed": "1"}, seeds=2)


def test_normalizers_replace_the_suites_own_and_added_ones_join_them(small: Suite) -> None:
    replaced = change_suite(small, normalizers=["layer_norm"])
    joined = change_suite(small, add_normalizers=["mine", "batch_norm"])
    assert settings_of(replaced, "normalizer") == ["layer_norm"]
    assert sorted(settings_of(joined, "normalizer")) == ["batch_norm", "group_norm(groups=8)", "mine", "none"]


def test_a_changed_suite_leaves_the_loaded_one_as_it_was(small: Suite) -> None:
    before = small.to_json()
    change_suite(small, {"ranks": "2"}, ["none"], 1, add_normalizers=["mine"])
    assert small.to_json() == before
