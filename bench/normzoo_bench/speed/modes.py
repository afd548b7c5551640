"""How a step is run: eager, compiled, or captured as a CUDA graph."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

Results = TypeVar("Results")


def compiled(module: nn.Module) -> Callable[..., Tensor]:
    """Give a module as torch.compile has it, for shapes that stay; graph breaks are counted anew from here."""
    import torch._dynamo

    torch._dynamo.utils.counters.clear()
    # or it would go on uncompiled, and nobody would know
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    return torch.compile(module, dynamic=False)


def forget_compiled() -> None:
    """Drop what was compiled in this process: of many cells' code the compiler would keep a few versions only."""
    if (dynamo := sys.modules.get("torch._dynamo")) is not None:
        dynamo.reset()


def graph_breaks() -> int:
    """Count the places where the compiler has given up since the last ``compiled``."""
    import torch._dynamo

    return sum(torch._dynamo.utils.counters["graph_break"].values())


def compilations() -> int:
    """Count what the compiler was asked to compile since the last ``compiled``; 0 where it was never called."""
    dynamo = sys.modules.get("torch._dynamo")
    return 0 if dynamo is None else int(dynamo.utils.counters["frames"]["total"])


def require_compiled_once(whose: str, before: int) -> None:
    """Raise RuntimeError where something was compiled since: compiling was timed."""
    if anew := compilations() - before:
        raise RuntimeError(
            f"{whose} was compiled anew {anew} time(s) while it was timed: a number that changes from step to step and "
            "is kept in Python makes other code of it; keep it in a tensor"
        )


def captured(step: Callable[[], Results], modules: Iterable[nn.Module]) -> Callable[[], Results]:
    """Capture a step as a CUDA graph; called, the result replays it and gives the same tensors again, filled anew.

    What the warm-up before a capture does to the modules' weights and buffers is undone.
    """
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    kept = [(tensor, tensor.detach().clone()) for tensor in tensors]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()
    with torch.no_grad():
        for tensor, before in kept:
            tensor.copy_(before)

    def replay() -> Results:
        graph.replay()
        return results

    return replay
