"""The steps that the processes of a check run, each on its shard, and that one process runs on all of it."""

from __future__ import annotations

import torch
from torch import Tensor

from normzoo.contract._probe import build, draw, state, step
from normzoo.registry import Card

RANKS = 2

SHARDS = ((5, 3), (8, 0), (1, 7))
"""Samples of each rank in each training step: unequal, and one of them empty."""

Session = list[dict[str, Tensor]]
"""By step: output, gradients, buffers and the output in eval, by name."""


def shards(card: Card) -> list[tuple[int, ...]]:
    """Give the shards of each step; only where ranks talk may one be empty: alone it would have no statistics."""
    return [shard for shard in SHARDS if all(shard) or "rank" in card.pools]


def inputs(card: Card, rank: int | None = None) -> list[tuple[Tensor, Tensor]]:
    """Give x and the load on each output for every step: one rank's samples, or everybody's."""
    found = []
    for number, shard in enumerate(shards(card)):
        x = draw(sum(shard), seed=300 + number, mean=0.5 * number, std=1.5)
        loads = draw(sum(shard), seed=400 + number)
        mine = slice(None) if rank is None else slice(sum(shard[:rank]), sum(shard[: rank + 1]))
        found.append((x[mine], loads[mine]))
    return found


def session(card: Card, batches: list[tuple[Tensor, Tensor]]) -> Session:
    """Train on these batches in float64 and note all that came of each."""
    module, notes = build(card), []
    parameters = {name for name, _ in module.named_parameters()}
    for x, loads in batches:
        note = step(module, x, loads)
        note |= {name: tensor for name, tensor in state(module).items() if name not in parameters}
        with torch.no_grad():
            note["output in eval"] = module.eval()(x)
        module.train()
        notes.append(note)
    return notes
