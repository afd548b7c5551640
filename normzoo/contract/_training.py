"""Training as it is done at scale: recomputed, with buffers sent between ranks, accumulated, in narrow types."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from normzoo.contract._probe import ContractError, build, distance, draw, require, state, step
from normzoo.registry import Card

ROUNDS = (1, 2, 2)
"""Forward passes of each training step; where they are 2, both come before the first backward, as in a pipeline."""

NAMED = 4  # names in a message

EXACT = 1e-12  # in float64, relative to the largest value
STALLS = 5e-3  # relative; float32 sums stay within 1e-6, bfloat16 stalls at 2e-2 and more
STALL_STEPS = 60  # enough for an average of momentum 0.01 to get half-way

Call = Callable[[nn.Module, Tensor], Tensor]


def check_checkpointing_changes_nothing(card: Card) -> None:
    """Under torch.utils.checkpoint the outputs, gradients and buffers are those without, and buffers move once."""
    plain = chain_session(card, lambda chain, x: chain(x), overlap=False)
    for reentrant in (False, True):

        def recomputed(chain: nn.Module, x: Tensor, reentrant: bool = reentrant) -> Tensor:
            return checkpoint(chain, x, use_reentrant=reentrant)  # type: ignore[no-any-return]  # torch's is untyped

        with _told(f"training under checkpoint(use_reentrant={reentrant})", "let the recomputation pass"):
            wrong = apart(chain_session(card, recomputed, overlap=True), plain)
        require(
            not wrong,
            "detect the recomputation, which runs forward a second time: move no buffer in it (normzoo.move_once), and "
            "normalize as the first pass did (normzoo.Corrections); "
            f"checkpoint(use_reentrant={reentrant}) changes {few(wrong)}",
        )


def check_buffers_may_be_written_between_forward_and_backward(card: Card) -> None:
    """Buffers written between forward and backward, as by DDP's broadcast, leave the gradients as they were."""
    module = build(card, steps=2)
    expected, x = step(copy.deepcopy(module), draw()), draw().requires_grad_()
    y = module(x)
    with torch.no_grad():
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(3 * buffer + 2)  # stays positive where it was: it may be a variance
    hint = "save no buffer for backward, but what was computed from it"
    with _told("backward after a write to the buffers", hint):
        _backward(y)
    wrong = apart(_gradients(module, [x]), {name: tensor for name, tensor in expected.items() if name != "output"})
    require(not wrong, f"a write to the buffers between forward and backward changes {', '.join(wrong)}; {hint}")


def check_gradients_accumulate(card: Card) -> None:
    """Gradients of several inputs add up, whether each goes backward at once or all after the last forward."""
    module, inputs = build(card, steps=2), [draw(seed=40 + i, mean=0.5 * i, std=1.5) for i in range(3)]
    alone = copy.deepcopy(module)
    singles = [step(alone, x) for x in inputs]
    names = [name for name in singles[0] if name not in ("output", "gradient of x")]
    expected = {name: sum((single[name] for single in singles), torch.zeros(())) for name in names}
    expected |= {_of("gradient of x", i): single["gradient of x"] for i, single in enumerate(singles)} | state(alone)
    for at_once, order in ((1, "one after the other"), (len(inputs), "after all forward passes")):
        trained = copy.deepcopy(module)
        leaves = [x.clone().requires_grad_() for x in inputs]
        with _told(f"backward {order}", "keep no graph and no input on the module: detach what moves into buffers"):
            _train(lambda x, trained=trained: trained(x), leaves, at_once)  # type: ignore[misc]  # bound now
        wrong = apart(_gradients(trained, leaves) | state(trained), expected)
        require(
            not wrong,
            f"with {len(inputs)} backward passes {order}, wrong are {', '.join(wrong)}; add to gradients, and keep "
            "what backward needs in the graph, not on the module",
        )


def check_bfloat16_statistics_do_not_stall(card: Card) -> None:
    """Fed bfloat16 for many steps, running statistics follow those that float64 takes of the same values."""
    if not card.running_stats:
        return
    twin, narrow, autocast = (build(card, dtype) for dtype in (torch.float64, torch.bfloat16, torch.float32))
    for number in range(STALL_STEPS):
        x = draw(dtype=torch.bfloat16, seed=500 + number, mean=300.0, std=3.0)
        narrow(x)
        with torch.autocast("cpu", torch.bfloat16):
            autocast(x)
        twin(x.double())
    for what, module in (("a bfloat16 layer", narrow), ("a float32 layer under autocast", autocast)):
        for name, expected in twin.named_buffers():
            off = distance(module.get_buffer(name), expected) / expected.abs().max().clamp(min=1e-30).item()
            require(
                not expected.is_floating_point() or off < STALLS,
                f"after {STALL_STEPS} steps {name} of {what} is {off:.1%} off; "
                "take statistics in float32, and move buffers in float32",
            )


def chain_session(card: Card, call: Call, *, overlap: bool) -> dict[str, Tensor]:
    """Train a chain in which recomputed outputs matter; give outputs, gradients and the state that is left.

    With ``overlap``, the forward passes of a step all come before its first backward.
    """
    chain = nn.Sequential(build(card), nn.Tanh(), build(card, steps=1))
    found: dict[str, Tensor] = {}
    number = 0
    for forwards in ROUNDS:
        leaves = [draw(seed=20 + number + i, mean=0.3, std=1.5).requires_grad_() for i in range(forwards)]
        chain.zero_grad()
        outputs = _train(lambda x: call(chain, x), leaves, forwards if overlap else 1)
        named = _gradients(chain, leaves) | {_of("output", i): y.detach() for i, y in enumerate(outputs)}
        found |= {f"{name} (step {number})": tensor for name, tensor in named.items()}
        number += forwards
    return found | state(chain)


def _train(call: Callable[[Tensor], Tensor], leaves: list[Tensor], at_once: int) -> list[Tensor]:
    """Run ``at_once`` forward passes, then their backward passes in the same order, until all leaves had theirs."""
    outputs: list[Tensor] = []
    for start in range(0, len(leaves), at_once):
        pending = [call(x) for x in leaves[start : start + at_once]]
        for y in pending:
            _backward(y)
        outputs += pending
    return outputs


def _backward(y: Tensor) -> None:
    (y * draw(y.shape[0], space=tuple(y.shape[2:]), seed=9).to(y.dtype)).sum().backward()


def _gradients(module: nn.Module, leaves: list[Tensor]) -> dict[str, Tensor]:
    of_leaves = [(_of("gradient of x", i) if len(leaves) > 1 else "gradient of x", x) for i, x in enumerate(leaves)]
    of_module = [(f"gradient of {name}", parameter) for name, parameter in module.named_parameters()]
    return {name: leaf.grad for name, leaf in of_leaves + of_module if leaf.grad is not None}


def _of(what: str, number: int) -> str:
    return f"{what} {number}"


def few(names: list[str]) -> str:
    """List names, of many the first ones: the rest tells nothing new."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def apart(found: dict[str, Tensor], expected: dict[str, Tensor], within: float = EXACT) -> list[str]:
    """Name the tensors that differ, or that only one side has; ``within`` is relative to the largest value."""
    wrong = found.keys() ^ expected.keys()
    for name in found.keys() & expected.keys():
        if not distance(found[name], expected[name]) <= within * (1 + expected[name].abs().max().item()):
            wrong.add(name)
    return sorted(wrong)


@contextlib.contextmanager
def _told(what: str, hint: str) -> Iterator[None]:
    """Say what to do where torch refuses."""
    try:
        yield
    except RuntimeError as error:
        first = str(error).partition("\n")[0]
        raise ContractError(f"{what} raises {type(error).__name__}; {hint} (torch says: {first})") from error
