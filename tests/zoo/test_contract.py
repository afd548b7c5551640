"""Every normalizer of the zoo keeps its contract, and the kit reports as it says."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.autograd.gradcheck import GradcheckError

import normzoo
from normzoo import contract
from normzoo.contract import _compiled, _gradients
from normzoo.contract._probe import build, draw

BUILT_IN = [name for name in normzoo.names() if normzoo.card(name).built_in]
IN_PROCESSES = contract.check_two_processes_behave_as_the_pools_say


@pytest.mark.parametrize("check", [check for check in contract.CHECKS if check is not IN_PROCESSES])
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_normalizer_keeps_its_contract(name: str, check: contract.Check) -> None:
    for finding in contract.run_checks(name, [check]):
        assert finding.ok, finding.message


@pytest.fixture(scope="module")
def in_processes() -> dict[str, list[contract.Finding]]:
    """One pair of processes for all of them."""
    return contract.run_checks_for_all(BUILT_IN, [IN_PROCESSES])


@pytest.mark.parametrize("name", BUILT_IN)
def test_two_processes_behave_as_the_pools_say(name: str, in_processes: dict[str, list[contract.Finding]]) -> None:
    [finding] = in_processes[name]
    assert finding.ok, finding.message


def test_no_built_in_normalizer_needs_an_exemption() -> None:
    assert not any(normzoo.card(name).exempt for name in BUILT_IN)


def fails(card: normzoo.Card) -> None:
    """It fails.

    Not shown.
    """
    raise contract.ContractError("because\n  of this")


def passes(card: normzoo.Card) -> None:
    """It passes."""


def crashes(card: normzoo.Card) -> None:
    """It crashes."""
    raise ZeroDivisionError("oh")


def exempting(name: str, reason: str = "reason") -> normzoo.Card:
    return dataclasses.replace(normzoo.card("none"), exempt={name: reason})


def test_a_finding_holds_the_first_line_of_the_check_and_the_message_on_one_line() -> None:
    [finding] = contract.run_checks("none", [fails])
    assert finding == contract.Finding("fails", "It fails.", "failed", "because of this")
    assert not finding.ok


def test_a_passed_check_has_no_message() -> None:
    [finding] = contract.run_checks("none", [passes])
    assert finding == contract.Finding("passes", "It passes.", "passed", "")
    assert finding.ok


def test_what_a_normalizer_raises_is_a_finding_and_not_a_crash_of_the_kit() -> None:
    [finding] = contract.run_checks("none", [crashes])
    assert (finding.outcome, finding.message) == ("failed", "ZeroDivisionError: oh")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the checks above be known, or exemptions from them would name nothing."""
    monkeypatch.setattr(contract._run, "CHECKS", [fails, passes])


@pytest.mark.usefixtures("known")
def test_an_exempt_failure_is_shown_with_its_reason() -> None:
    [finding] = contract.run_checks(exempting("fails"), [fails])
    assert (finding.outcome, finding.message, finding.ok) == ("exempt", "reason", True)


@pytest.mark.usefixtures("known")
def test_an_exemption_that_is_no_longer_needed_is_a_fault() -> None:
    [finding] = contract.run_checks(exempting("passes"), [passes])
    assert (finding.outcome, finding.ok) == ("exemption no longer needed", False)
    assert "remove the exemption" in finding.message


def test_an_exemption_from_a_check_that_does_not_exist_is_a_fault_with_the_nearest_name() -> None:
    [finding] = contract.run_checks(exempting("check_shape_is_kep"), [])
    assert (finding.outcome, finding.ok) == ("failed", False)
    assert "did you mean 'check_shape_is_kept'?" in finding.message


def test_an_exemption_without_a_reason_is_a_fault() -> None:
    [finding] = contract.run_checks(exempting("check_shape_is_kept", reason=" "), [])
    assert (finding.outcome, finding.ok) == ("failed", False)
    assert "reason" in finding.message


def test_an_unknown_normalizer_is_named_with_its_neighbour() -> None:
    with pytest.raises(normzoo.UnknownNormalizerError, match="did you mean 'group_norm'"):
        contract.run_checks("group_nrm")


def test_every_check_is_named_check_and_is_one_sentence() -> None:
    for check in contract.CHECKS:
        sentence = (check.__doc__ or "").partition("\n")[0]
        assert check.__name__.startswith("check_")
        assert sentence.endswith("."), check.__name__


def test_checking_leaves_the_global_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    contract.run_checks("batch_renorm", [check for check in contract.CHECKS if check is not IN_PROCESSES])
    assert torch.equal(before, torch.get_rng_state())


def test_batch_renorms_gradient_is_not_its_outputs_where_the_correction_moves() -> None:
    """Near its statistics r and d follow the batch: the check has to go to the limits, or it would refuse the paper."""
    module = build(normzoo.card("batch_renorm"))
    with pytest.raises(GradcheckError):
        _gradients._gradcheck(module, draw(3, space=(2,)))


def test_compiling_again_and_again_does_not_reach_the_compilers_limit() -> None:
    """torch compiles a code object 8 times and then refuses; each check compiles training and eval."""
    found = [contract.run_checks("none", [_compiled.check_compiles_whole])[0].outcome for _ in range(5)]
    assert found == ["passed"] * 5


def test_checking_leaves_what_is_compiled_in_this_process_alone() -> None:
    compilations = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        compilations.append(inputs)
        return graph.forward

    mine = torch.compile(lambda x: x + 1, backend=backend)
    mine(torch.ones(2))
    contract.run_checks("none", [_compiled.check_compiles_whole])
    mine(torch.ones(2))
    assert len(compilations) == 1


class Local(nn.Module):
    """Sits in a test; the function below makes one that no process can import."""


def test_a_class_that_no_other_process_can_import_is_told_where_to_go() -> None:
    class Inner(Local):
        pass

    card = dataclasses.replace(normzoo.card("none"), factory=Inner)
    [finding] = contract.run_checks(card, [IN_PROCESSES])
    assert finding.outcome == "failed"
    assert "define the class at the top level of a file" in finding.message


@pytest.mark.slow
def test_a_script_without_a_main_guard_may_check(tmp_path: Path) -> None:
    """multiprocessing would import the script again in every process, which would check again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from normzoo import contract\n"
        "print([finding.outcome for finding in contract.run_checks('none', contract.CHECKS[-1:])])"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
    )
    assert done.stdout.strip() == "['passed']"


def test_a_normalizer_is_held_to_its_contract_as_options_build_it() -> None:
    """With one group it pools over all channels, which its card does not say."""
    one = contract.with_options("group_norm", {"groups": 1}, "group_norm(groups=1)")
    eight = contract.with_options("group_norm", {"groups": 8}, "group_norm(groups=8)")
    check = next(check for check in contract.CHECKS if check.__name__.endswith("on_the_declared_pools"))
    found = contract.run_checks_for_all([one, eight], [check])
    assert not found["group_norm(groups=1)"][0].ok
    assert found["group_norm(groups=8)"][0].ok
    assert one.source_hash == normzoo.card("group_norm").source_hash


def test_options_reach_a_converted_model_and_other_processes() -> None:
    card = contract.with_options("batch_norm", {"momentum": 0.5}, "half")
    converted = next(check for check in contract.CHECKS if check.__name__.startswith("check_convert"))
    assert [one.ok for one in contract.run_checks(card, [converted, IN_PROCESSES])] == [True, True]
    assert pickle.loads(pickle.dumps(card)).factory(8).momentum == 0.5


@pytest.mark.parametrize(
    ("options", "said"),
    [({"groups": 48}, r"^spelt: groups must divide the 64 channels.*; the contract's checks build 64 channels$"),
     ({"grups": 8}, "no option 'grups'; did you mean 'groups'")],
)  # fmt: skip
def test_options_that_cannot_be_built_are_refused_before_any_check(options: dict[str, int], said: str) -> None:
    with pytest.raises(normzoo.NormalizerOptionError, match=said):
        contract.with_options("group_norm", options, "spelt")
