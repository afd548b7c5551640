"""What a normalizer keeps: parameters, running statistics, a state_dict that holds everything, and no hidden chance."""

from __future__ import annotations

import copy
import io

import torch
from torch import Tensor, nn

from normzoo.contract._probe import CHANNELS, ContractError, build, differing, draw, require, state, step
from normzoo.registry import Card


def check_parameters_are_weight_and_bias(card: Card) -> None:
    """The parameters are weight [C], which starts at 1, and bias [C], which starts at 0."""
    parameters = dict(card.factory(CHANNELS).named_parameters())
    names = sorted(parameters)
    require(names == ["bias", "weight"], f"the parameters are {', '.join(names) or 'none'}, not weight and bias")
    for name, start in (("weight", 1.0), ("bias", 0.0)):
        parameter = parameters[name]
        require(parameter.shape == (CHANNELS,), f"{name} has shape {tuple(parameter.shape)}, not ({CHANNELS},)")
        require(bool((parameter == start).all()), f"{name} starts at {parameter[0].item():g}, not {start:g}")


def check_unknown_options_are_refused(card: Card) -> None:
    """The constructor refuses an option that it does not have, instead of swallowing a typo."""
    try:
        card.factory(CHANNELS, no_such_option=1)
    except (TypeError, ValueError):
        return
    raise ContractError("the constructor took no_such_option=1; drop **options from its signature")


def check_running_statistics_move_only_in_training(card: Card) -> None:
    """Buffers move in training if the card says running_stats and not otherwise; in eval nothing moves."""
    module = build(card)
    start = state(module)
    module(draw(mean=0.5, std=1.5))
    trained = state(module)
    moved = differing(start, trained)
    floats = [name for name in moved if name in trained and trained[name].is_floating_point()]
    if card.running_stats:
        require(bool(floats), "the card says running_stats, but a training step moved no floating-point buffer")
    else:
        require(not moved, f"a training step moved {', '.join(moved)}; say running_stats=True on the card")
    weights = sorted({name for name, _ in module.named_parameters()} & set(moved))
    require(not weights, f"forward moved the parameters {', '.join(weights)}")
    module.eval()
    module(draw(mean=-2.0, std=3.0))
    moved = differing(trained, state(module))
    require(not moved, f"a forward pass in eval moved {', '.join(moved)}; move buffers only if self.training")


def check_buffers_stay_wide(card: Card) -> None:
    """Floating-point buffers are float32 after a cast to bfloat16, where they would stall, and follow to float64."""
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        module = build(card, dtype, steps=1)
        for name, buffer in module.named_buffers():
            wrong = buffer.is_floating_point() and buffer.dtype != expected
            require(
                not wrong,
                f"{name} is {buffer.dtype} after .to({dtype}), not {expected}; "
                "override _apply, with normzoo.keep_buffers_wide(self) around it",
            )


def check_state_dict_round_trip_continues_identically(card: Card) -> None:
    """Saved after some steps and loaded into a fresh layer, it goes on to the bit as if never stopped."""
    module = build(card, torch.float32, steps=3)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    fresh = card.factory(CHANNELS)
    try:
        fresh.load_state_dict(torch.load(file, weights_only=True))
    except RuntimeError as error:
        raise ContractError(f"its own state_dict does not load into a fresh layer: {error}") from error
    for number in range(1, 4):
        wrong = differing(_trained(module, number), _trained(fresh, number))
        require(
            not wrong,
            f"step {number} after loading the state_dict differs in {', '.join(wrong)}; "
            "keep everything that training changes in buffers",
        )


def check_same_input_gives_same_output(card: Card) -> None:
    """The same input and state give the same outputs, gradients and buffers to the bit."""
    module = build(card, torch.float32, steps=2)
    for training in (True, False):
        outcomes = [_seeded(copy.deepcopy(module.train(training))) for _ in range(2)]
        wrong = differing(*outcomes)
        mode = "training" if training else "eval"
        require(not wrong, f"{mode} twice from the same state differs in {', '.join(wrong)}")


def check_no_random_numbers_are_drawn(card: Card) -> None:
    """Construction and forward leave the global random numbers alone: under one seed all normalizers get one start."""
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        module = card.factory(CHANNELS).double()
        _require_undrawn(before, "construction")
        for training in (True, False):
            module.train(training)(draw())
            _require_undrawn(before, "forward in " + ("training" if training else "eval"))


def _require_undrawn(before: Tensor, where: str) -> None:
    require(torch.equal(before, torch.get_rng_state()), f"{where} draws from the global random numbers")


def _trained(module: nn.Module, number: int) -> dict[str, Tensor]:
    """Train one step on the input of this number; give output, gradients, state, and what eval makes of them."""
    x = draw(dtype=torch.float32, seed=200 + number, mean=0.5, std=1.5)
    found = step(module.train(), x) | state(module)
    with torch.no_grad():
        return found | {"the output in eval": copy.deepcopy(module).eval()(x)}


def _seeded(module: nn.Module) -> dict[str, Tensor]:
    """Run a step under a fixed seed: whether numbers are drawn at all is another check's question."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return step(module, draw(dtype=torch.float32)) | state(module)
