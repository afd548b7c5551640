"""The list of checks, and what running it on a card finds."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from normzoo.contract import (
    _compiled,
    _converted,
    _dependence,
    _form,
    _gradients,
    _means,
    _state,
    _training,
)
from normzoo.contract._processes import check_two_processes_behave_as_the_pools_say, faults_of
from normzoo.registry import Card
from normzoo.registry import card as card_of

Check = Callable[[Card], None]
"""Raises ``ContractError`` where a card's normalizer does not hold what the check's first line says."""

Outcome = Literal["passed", "failed", "exempt", "exemption no longer needed"]

CHECKS: list[Check] = [
    _state.check_parameters_are_weight_and_bias,
    _state.check_unknown_options_are_refused,
    _form.check_shape_is_kept,
    _form.check_dtype_is_kept,
    _form.check_memory_layout_is_kept,
    _form.check_wrong_channels_are_refused,
    _form.check_single_value_is_refused,
    _form.check_smallest_batch_is_accepted,
    _form.check_constant_input_stays_finite,
    _means.check_large_means_do_no_harm,
    _dependence.check_training_depends_on_the_declared_pools,
    _dependence.check_eval_ignores_batch_mates,
    _dependence.check_eval_takes_an_empty_batch,
    _dependence.check_training_leaves_eval_only_statistics_unread,
    _gradients.check_gradients_match_finite_differences,
    _state.check_running_statistics_move_only_in_training,
    _state.check_buffers_stay_wide,
    _state.check_state_dict_round_trip_continues_identically,
    _state.check_same_input_gives_same_output,
    _state.check_no_random_numbers_are_drawn,
    _training.check_gradients_accumulate,
    _training.check_buffers_may_be_written_between_forward_and_backward,
    _training.check_checkpointing_changes_nothing,
    _training.check_bfloat16_statistics_do_not_stall,
    _converted.check_convert_keeps_the_memory_layout,
    _compiled.check_compiles_whole,
    _compiled.check_compiled_code_may_be_checkpointed,
    check_two_processes_behave_as_the_pools_say,
]
"""Every check, the cheap ones first; the two before the last load a compiler, the last starts processes (seconds)."""


@dataclass(frozen=True)
class Finding:
    """What one check found of one normalizer.

    Attributes:
        check: the name of the check, as an exemption on a card spells it.
        sentence: what the check asks for.
        outcome: one of ``Outcome``.
        message: what is wrong and what to do; for an exemption its reason; empty for ``passed``.

    """

    check: str
    sentence: str
    outcome: Outcome
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether the contract is kept: passed, or failed under an exemption that says why."""
        return self.outcome in ("passed", "exempt")


def run_checks(normalizer: str | Card, checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Hold a normalizer to its card: one finding per check, and one per exemption that is none.

    Raises:
        UnknownNormalizerError: for a name that is not registered.

    """
    card = normalizer if isinstance(normalizer, Card) else card_of(normalizer)
    return run_checks_for_all([card], checks)[card.name]


def run_checks_for_all(normalizers: Iterable[str | Card], checks: Sequence[Check] = CHECKS) -> dict[str, list[Finding]]:
    """Hold several normalizers to their cards, by name; they share the processes that a check may start.

    Raises:
        UnknownNormalizerError: for a name that is not registered.

    """
    cards = [normalizer if isinstance(normalizer, Card) else card_of(normalizer) for normalizer in normalizers]
    in_processes = check_two_processes_behave_as_the_pools_say
    if in_processes not in checks:
        return {card.name: [*_bad_exemptions(card), *(_find(card, check) for check in checks)] for card in cards}
    shared = functools.partial(in_processes, faults=faults_of(cards))
    functools.update_wrapper(shared, in_processes)
    return run_checks_for_all(cards, [shared if check is in_processes else check for check in checks])


def _find(card: Card, check: Check) -> Finding:
    name, sentence = _name(check), (check.__doc__ or "").partition("\n")[0]
    fault, reason = _fault(card, check), card.exempt.get(name)
    if reason is None:
        return Finding(name, sentence, "failed" if fault else "passed", fault)
    if fault:
        return Finding(name, sentence, "exempt", reason)
    message = f"the card is exempt because {reason!r}, but the check passes; remove the exemption"
    return Finding(name, sentence, "exemption no longer needed", message)


def _fault(card: Card, check: Check) -> str:
    """Say what a check finds wrong, or nothing; whatever the normalizer raises is its fault, not a crash of the kit."""
    try:
        check(card)
    except AssertionError as error:
        return _on_one_line(error) or "an assertion failed"
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {_on_one_line(error)}"
    return ""


def _on_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _bad_exemptions(card: Card) -> list[Finding]:
    """Fail exemptions without a reason, and those that name no check: a typo would look as if it exempted."""
    known = [_name(check) for check in CHECKS]
    findings = []
    for name, reason in card.exempt.items():
        message = "" if reason.strip() else f"the card is exempt from {name!r} without a reason; give one"
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            message = f"the card is exempt from {name!r}, which is no check{hint}"
        if message:
            findings.append(Finding(name, "Every exemption names a check and gives a reason.", "failed", message))
    return findings


def _name(check: Check) -> str:
    return str(getattr(check, "__name__", check))
