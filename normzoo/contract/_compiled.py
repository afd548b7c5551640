"""Under torch.compile: one graph, and the results of eager mode, recomputed too."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from normzoo.contract._probe import ContractError, build, distance, draw, require, state, step
from normzoo.contract._training import apart, chain_session, few
from normzoo.registry import Card

TOLERANCE = 1e-4  # float32, relative to the largest value: operations may come in another order
CLOSE = 1e-9  # the same in float64


def check_compiles_whole(card: Card) -> None:
    """torch.compile takes it as one graph (fullgraph=True), with eager mode's outputs, gradients and buffers."""
    eager = build(card, torch.float32, steps=2)
    compiled = copy.deepcopy(eager)
    call = _compile(compiled)
    for number, mode in enumerate(("training", "training", "eval")):
        x = draw(dtype=torch.float32, seed=60 + number, mean=0.5, std=1.5)
        expected = step(eager.train(mode == "training"), x) | state(eager)
        try:
            found = step(compiled.train(mode == "training"), x, call=call) | state(compiled)
        except Exception as error:  # the compiler's classes are private, and what it traces may raise anything
            raise ContractError(_said(mode, error)) from error
        wrong = sorted(name for name in expected if not _close(found.get(name), expected[name]))
        require(
            not wrong,
            f"{mode} under torch.compile differs from eager mode in {', '.join(wrong)}; "
            "keep what changes in tensors, let no branch tell the two apart, and let backward need nothing that is "
            "derived from a buffer that forward moves: compiled code derives it again, after the move "
            "(normzoo.Corrections keeps it)",
        )


def check_compiled_code_may_be_checkpointed(card: Card) -> None:
    """Compiled and then checkpointed, its outputs and gradients are those of eager mode, and buffers move once."""
    if not card.running_stats:
        return  # nothing moves, so a second run of the same code is the first
    calls: dict[nn.Module, Callable[[Tensor], Tensor]] = {}

    def recomputed(chain: nn.Module, x: Tensor) -> Tensor:
        if chain not in calls:
            calls[chain] = _compile(chain)
        return checkpoint(calls[chain], x, use_reentrant=False)

    plain = chain_session(card, lambda chain, x: chain(x), overlap=False)
    try:
        wrong = apart(chain_session(card, recomputed, overlap=True), plain, within=CLOSE)
    except Exception as error:  # as above
        raise ContractError(_said("training under checkpoint", error)) from error
    require(
        not wrong,
        "compiled code cannot ask whether it is recomputed (normzoo.is_recomputing() is False there): move buffers by "
        "normzoo.move_once, and keep what backward needs of moving statistics in normzoo.Corrections; "
        f"checkpoint of the compiled layer changes {few(wrong)}",
    )


def _compile(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Compile calls of a module, and leave what else is compiled in this process alone.

    What is compiled is kept with the code object that was called, up to a limit. A code object of its own is forgotten
    with this module; a reset would throw away the caller's graphs too.
    """

    def call(x: Tensor) -> Tensor:
        return module(x)  # type: ignore[no-any-return]  # a module's call is untyped

    own = types.FunctionType(call.__code__.replace(), call.__globals__, closure=call.__closure__)
    return torch.compile(own, fullgraph=True, backend="aot_eager")  # the backend that needs no C++ compiler


def _said(mode: str, error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return (
        f"torch.compile(fullgraph=True) of {mode} raises {type(error).__name__}; in forward, read no tensor's value "
        f"(.item(), float(), if) and call nothing that the compiler cannot trace (torch says: {first})"
    )


def _close(found: Tensor | None, expected: Tensor) -> bool:
    if found is None or found.dtype != expected.dtype or found.shape != expected.shape:
        return False
    return distance(found, expected) <= TOLERANCE * (1 + expected.abs().max().item())
