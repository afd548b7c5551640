"""Virtual ranks: W data-parallel ranks in one process. Only norm layers know of them.

Sample i of a batch belongs to rank i mod W. A normalizer that pools over the batch but not over ranks sees W parts;
every other one is called once on the whole batch. All parts read the buffers as they were before the step.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from normzoo import Card
from normzoo.convert import move_surroundings

Buffers = Literal["rank0", "mean", "local"]
"""As in the settings; ``local`` ones are of ranks that train by themselves, and no layer here meets it."""


CALLS = 4
"""Up to so many parts are cheaper to call one by one than to copy to a layout in which they fold."""


class VirtualRanks(nn.Module):
    """A norm layer as W ranks have it, each with statistics and buffers of its own.

    ``states`` holds every rank's copy of each buffer, [W, …]. Where training reads the buffers (batch renorm), all
    copies are set to one after each step: rank 0's, as DDP broadcasts it, or the mean. Where it never does (batch
    norm), the copies go their own ways, and both readings come from one training: rank 0's copy is what DDP would
    have saved, and since a moving average is linear, the mean over copies is the moving average of means.
    """

    def __init__(self, inner: nn.Module, card: Card, ranks: int, buffers: Buffers) -> None:
        super().__init__()
        move_surroundings(inner, self)  # layout and fused activation stay outside: the ranks see [N, C, *space]
        self.inner, self.ranks, self.buffers_from = inner, ranks, buffers
        self.tied = not card.eval_only_stats
        self.folds = card.built_in and card.pools <= {"rank", "batch", "space"}
        self.states = {name: buffer.expand(ranks, *buffer.shape).clone() for name, buffer in inner.named_buffers()}

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space], rank by rank in training."""
        if not self.training:
            y: Tensor = self.inner(x)
            return y
        if self.states.keys() != dict(self.inner.named_buffers()).keys():
            raise ValueError("a buffer that is made or removed in forward cannot be kept per rank; register it at once")
        folds = self.folds and x.shape[0] % self.ranks == 0  # parts of different sizes go one by one
        if folds and not x.is_contiguous() and self.ranks > CALLS:
            y = torch.empty_like(x).copy_(self._folded(x.contiguous()))
        else:
            y = self._folded(x) if folds and x.is_contiguous() else self._one_by_one(x)
        if self.tied:
            self._tie()
        return y

    @torch.no_grad()
    def read(self, buffers: Buffers) -> None:
        """Set the layer's own buffers, which eval uses, to rank 0's or to the mean over ranks."""
        for name, buffer in self.inner.named_buffers():
            buffer.copy_(_merge(self.states[name], buffers))

    def _folded(self, x: Tensor) -> Tensor:
        """Call the layer once, ranks folded into channels: [N, C, …] is seen as [N/W, W·C, …], a view."""
        shape = (x.shape[0] // self.ranks, self.ranks * x.shape[1], *x.shape[2:])
        shared = {name: p.repeat(self.ranks) for name, p in self.inner.named_parameters()}
        # counters are the same on every rank, so the first rank's stands for all
        own = {name: s.view(-1) if s.dim() == 2 else s[0] for name, s in self.states.items()}
        y: Tensor = functional_call(self.inner, {**shared, **own}, (x.view(shape),))
        for state in self.states.values():
            if state.dim() == 1:
                state.copy_(state[0].clone().expand_as(state))
        return y.reshape(x.shape)

    def _one_by_one(self, x: Tensor) -> Tensor:
        parameters = dict(self.inner.named_parameters())
        parts = []
        for rank in range(self.ranks):
            tensors = parameters | {name: state[rank].clone() for name, state in self.states.items()}
            parts.append(functional_call(self.inner, tensors, (x[rank :: self.ranks],)))
            for name, state in self.states.items():
                state[rank] = tensors[name]  # functional_call leaves here what the layer moved or set anew
        y = torch.empty_like(x)
        for rank, part in enumerate(parts):
            y[rank :: self.ranks] = part
        return y

    @torch.no_grad()
    def _tie(self) -> None:
        for state in self.states.values():
            state.copy_(_merge(state, self.buffers_from).expand_as(state))


def _merge(state: Tensor, buffers: Buffers) -> Tensor:
    """Give one buffer for [W, …] of them; a counter is the same on every rank."""
    if buffers == "rank0" or not state.is_floating_point():
        return state[0].clone()
    return state.mean(0)


def is_split(card: Card, ranks: int) -> bool:
    """Tell whether a normalizer's statistics differ between ranks: it pools over the batch, but not over ranks."""
    return ranks > 1 and "batch" in card.pools and "rank" not in card.pools


def virtualize(model: nn.Module, card: Card, ranks: int, buffers: Buffers) -> list[VirtualRanks]:
    """Give every layer of this normalizer W virtual ranks, where ranks matter to it; give the new layers."""
    return wrap(model, card, ranks, buffers) if is_split(card, ranks) else []


def wrap(model: nn.Module, card: Card, ranks: int, buffers: Buffers = "rank0") -> list[VirtualRanks]:
    """Cut every batch that reaches a layer of this normalizer into W parts; give the new layers."""
    # a layer that the model uses in two places stays one layer
    found = [pair for pair in model.named_modules(remove_duplicate=False) if isinstance(pair[1], card.factory)]
    layers = {id(module): VirtualRanks(module, card, ranks, buffers) for _, module in found}
    for name, module in found:
        _put(model, name, layers[id(module)])
    return list(layers.values())


def unwrap(model: nn.Module) -> nn.Module:
    """Undo ``wrap``, each layer with the statistics that its buffers name; give the model, changed in place."""
    found = [pair for pair in model.named_modules(remove_duplicate=False) if isinstance(pair[1], VirtualRanks)]
    for layer in {id(one): one for _, one in found}.values():
        assert isinstance(layer, VirtualRanks)  # for mypy: they were picked by it
        layer.read(layer.buffers_from)
        move_surroundings(layer, layer.inner)
    for name, layer in found:
        _put(model, name, layer.get_submodule("inner"))
    return model


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
