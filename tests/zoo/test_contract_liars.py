"""The contract kit catches a normalizer that lies, by the check that the lie is about and by no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from normzoo import Card, card, contract, plugins, registry

FILES = ("liars.py", "liars_in_training.py")

POOLS = "check_training_depends_on_the_declared_pools"
MOVES = "check_running_statistics_move_only_in_training"
GRADIENTS = "check_gradients_match_finite_differences"
ROUND_TRIP = "check_state_dict_round_trip_continues_identically"
PROCESSES = "check_two_processes_behave_as_the_pools_say"
LAYOUT = "check_memory_layout_is_kept"
LARGE_MEANS = "check_large_means_do_no_harm"
WIDE = "check_buffers_stay_wide"
CHECKPOINTING = "check_checkpointing_changes_nothing"
WRITTEN = "check_buffers_may_be_written_between_forward_and_backward"
ACCUMULATION = "check_gradients_accumulate"
STALLS = "check_bfloat16_statistics_do_not_stall"
CONVERTED = "check_convert_keeps_the_memory_layout"
COMPILES = "check_compiles_whole"
COMPILED_AND_SAVED = "check_compiled_code_may_be_checkpointed"

FAILS = {
    "honest": set(),
    "pools_over_the_batch_secretly": {POOLS},
    "hides_a_batch_mean": {POOLS, GRADIENTS},  # what autograd does not know is a wrong gradient, too
    "pools_over_less_than_it_says": {POOLS},
    "some_channels_for_all": {POOLS},
    "peeks_at_batch_mates_in_eval": {"check_eval_ignores_batch_mates"},
    "fails_on_an_empty_batch": {"check_eval_takes_an_empty_batch"},
    "widens_bfloat16": {"check_dtype_is_kept"},
    # a volume without its last axis has neither the layout, nor when empty the shape
    "drops_a_space_axis": {"check_shape_is_kept", LAYOUT, "check_eval_takes_an_empty_batch"},
    "takes_a_single_value": {"check_single_value_is_refused"},
    "wants_three_samples": {"check_smallest_batch_is_accepted"},
    "broadcasts_one_channel": {"check_wrong_channels_are_refused"},
    "divides_by_zero": {"check_constant_input_stays_finite"},
    "detaches_its_deviation": {GRADIENTS},
    "hides_a_part_from_autograd": {GRADIENTS},
    "starts_at_zero": {"check_parameters_are_weight_and_bias"},
    "swallows_options": {"check_unknown_options_are_refused"},
    "draws_at_construction": {"check_no_random_numbers_are_drawn"},
    "draws_in_training": {"check_no_random_numbers_are_drawn"},
    "grows": {ROUND_TRIP, CHECKPOINTING},  # a recomputation is one step more
    "counts_calls_of_all": {"check_same_input_gives_same_output", ROUND_TRIP},  # what all share, no state_dict holds
    "moves_in_eval": {MOVES},
    "moves_undeclared": {MOVES},
    "keeps_still": {MOVES},
    # what it reads has moved when it is recomputed
    "reads_statistics_secretly": {"check_training_leaves_eval_only_statistics_unread", CHECKPOINTING},
    "claims_ranks": {PROCESSES},
    "talks_to_ranks_secretly": {PROCESSES},
    "breaks_with_an_empty_shard": {PROCESSES},
    "honest_moving": set(),
    "torchs_own_batch_norm": {LARGE_MEANS, WIDE, WRITTEN, CHECKPOINTING, STALLS},
    "torchs_own_group_norm": {LARGE_MEANS},
    "cancels": {LARGE_MEANS},
    "narrows_its_buffers": {WIDE, STALLS},
    "moves_narrowly": {STALLS},
    "moves_when_recomputed": {CHECKPOINTING},
    "renormalizes_by_what_has_moved": {CHECKPOINTING},
    "moves_again_when_compiled": {COMPILED_AND_SAVED},
    # the next forward pass writes them, too
    "reads_buffers_in_backward": {WRITTEN, ACCUMULATION, CHECKPOINTING},
    "remembers_its_last_input": {ACCUMULATION},
    "branches_on_a_value": {COMPILES},
    "differs_when_compiled": {COMPILES},
    "forgets_the_layout": {LAYOUT, CONVERTED},
    "makes_gradients_contiguous": {CONVERTED},
}

IN_PROCESSES = {"honest"} | {name for name, checks in FAILS.items() if PROCESSES in checks}
COMPILING = {COMPILES, COMPILED_AND_SAVED}
COMPILED = {"honest", "honest_moving"} | {name for name, checks in FAILS.items() if COMPILING & checks}


@pytest.fixture(scope="module")
def liars() -> Iterator[dict[str, Card]]:
    """The liars' cards, loaded as an author's file would be; no other test sees them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_cards", dict(registry._cards))
        patch.setattr(plugins, "_loaded", dict(plugins._loaded))
        yield {name: card(name) for file in FILES for name in plugins.load(Path(__file__).with_name(file))}


@pytest.fixture(scope="module")
def in_processes(liars: dict[str, Card]) -> dict[str, set[str]]:
    """What fails in two processes: one call for all, which starts a fresh pair after the one that breaks."""
    cards = [liars[name] for name in FAILS if name in IN_PROCESSES]
    findings = contract.run_checks_for_all(cards, contract.CHECKS[-1:])
    return {name: {finding.check for finding in found if not finding.ok} for name, found in findings.items()}


def test_every_liar_is_expected_to_fail_something(liars: dict[str, Card]) -> None:
    assert set(liars) == set(FAILS)


def test_every_check_catches_a_liar() -> None:
    assert set.union(*FAILS.values()) == {check.__name__ for check in contract.CHECKS}


@pytest.mark.parametrize("name", FAILS)
def test_a_lie_fails_its_check_and_no_other(name: str, liars: dict[str, Card]) -> None:
    """Compiling takes most of the time, so it is asked of those that it is about only."""
    slow = {PROCESSES} if name in COMPILED else {PROCESSES} | COMPILING
    checks = [check for check in contract.CHECKS if check.__name__ not in slow]
    failed = {finding.check for finding in contract.run_checks(liars[name], checks) if not finding.ok}
    assert failed == FAILS[name] - {PROCESSES}


@pytest.mark.parametrize("name", sorted(IN_PROCESSES))
def test_a_lie_about_ranks_shows_in_two_processes(name: str, in_processes: dict[str, set[str]]) -> None:
    assert in_processes[name] == FAILS[name]


SAYS = {
    ("torchs_own_batch_norm", WRITTEN): "save no buffer for backward",
    ("torchs_own_group_norm", LARGE_MEANS): "training of channels_last float32 input",
    ("moves_when_recomputed", CHECKPOINTING): "detect the recomputation",
    ("moves_again_when_compiled", COMPILED_AND_SAVED): "move buffers by normzoo.move_once",
    ("remembers_its_last_input", ACCUMULATION): "after all forward passes, wrong are gradient of weight;",
    ("renormalizes_by_what_has_moved", CHECKPOINTING): " more",  # of many wrong tensors, a few are named
    ("narrows_its_buffers", WIDE): "normzoo.keep_buffers_wide(self)",
    ("moves_narrowly", STALLS): "running_mean of a bfloat16 layer is 2.6% off",
    ("branches_on_a_value", COMPILES): ".item()",
    ("differs_when_compiled", COMPILES): "differs from eager mode in gradient of weight, gradient of x, output;",
    ("makes_gradients_contiguous", CONVERTED): "the gradient of the output of layer 0 (Conv2d)",
    ("forgets_the_layout", CONVERTED): "the output of layer 1 (ForgetsTheLayout)",
}


@pytest.mark.parametrize(("name", "check"), SAYS)
def test_a_message_names_the_fault(name: str, check: str, liars: dict[str, Card]) -> None:
    [asked] = [known for known in contract.CHECKS if known.__name__ == check]
    [finding] = contract.run_checks(liars[name], [asked])
    assert SAYS[name, check] in finding.message


def test_a_message_says_what_was_declared_and_what_was_found(liars: dict[str, Card]) -> None:
    card = liars["pools_over_the_batch_secretly"]
    [finding] = [finding for finding in contract.run_checks(card, contract.CHECKS[:-1]) if not finding.ok]
    assert "declares pools {space}" in finding.message
    assert "depends on {batch, space}" in finding.message
