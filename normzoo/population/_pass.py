"""One pass over the data: every batch run, what the layers see measured and merged over ranks."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from normzoo.population._layers import CannotRecalibrateError, path
from normzoo.population._moments import Moments, merge, moments_of
from normzoo.population._state import Snapshot, modes, quiet, uncorrected


@dataclass(frozen=True)
class Pass:
    """How the batches are run, once; ``training`` is the mode of the normalizers (all that training may move)."""

    model: nn.Module
    batches: Iterable[Any]
    call: Callable[[nn.Module, Any], Any]
    group: dist.ProcessGroup | None
    normalizers: list[nn.Module]
    training: bool

    def measure(self, layers: dict[str, nn.Module]) -> dict[str, Moments]:
        """Give the moments of what these layers see on all ranks; those reached, in the order of their first calls."""
        seen: dict[str, Moments] = {}
        failure: Exception | None = None
        number = 0
        try:
            number = self._run(layers, seen)
        except Exception as error:  # raised once the other ranks, which wait, have heard of it
            failure = error
        merged, total = self._over_ranks(seen, number, failure)
        if not total:
            raise CannotRecalibrateError("population statistics need at least one batch, got none")
        if not merged:
            few = ", ".join(map(path, itertools.islice(layers, 3)))
            raise CannotRecalibrateError(
                f"no batch reached {few}; `call` is to run the model, each pass on the same data"
            )
        return dict(sorted(merged.items(), key=lambda item: item[1].turn))

    def _run(self, layers: dict[str, nn.Module], seen: dict[str, Moments]) -> int:
        """Run the batches of this rank, and give their number; add to ``seen`` what the layers see."""
        number, moved = 0, Snapshot(self.normalizers)
        training = self.normalizers if self.training else []
        with modes(self.model, training), uncorrected(training), quiet(self.model), _watching(layers, seen):
            for batch in self.batches:
                try:
                    self.call(self.model, batch)
                finally:
                    moved.put_back()  # every batch meets the same: batch renorm reads its statistics in training
                number += 1
        return number

    def _over_ranks(
        self, seen: dict[str, Moments], number: int, failure: Exception | None
    ) -> tuple[dict[str, Moments], int]:
        """Merge over ranks, in the same order on each; raise what any rank raised.

        Objects are gathered, not tensors: a rank without batches does not know how many channels a layer has.
        """
        told = f"{type(failure).__name__}: {failure}" if failure else ""
        seen = {name: Moments(m.count, m.mean.cpu(), m.squares.cpu(), m.turn) for name, m in seen.items()}
        gathered = [(seen, number, told)]
        if dist.is_available() and dist.is_initialized() and (ranks := dist.get_world_size(self.group)) > 1:
            gathered *= ranks
            dist.all_gather_object(gathered, (seen, number, told), group=self.group)
        if failure:
            raise failure
        merged: dict[str, Moments] = {}
        for rank, (theirs, _, error) in enumerate(gathered):
            if error:
                raise CannotRecalibrateError(f"rank {rank} failed with {error}")
            for name, moments in theirs.items():
                merge(merged, name, moments)
        return merged, sum(of_rank for _, of_rank, _ in gathered)


@contextlib.contextmanager
def _watching(layers: dict[str, nn.Module], seen: dict[str, Moments]) -> Iterator[None]:
    """Add to ``seen`` the moments of what the forward of each layer gets.

    The hooks come last in line, so they see [N, C, *space] behind those with which ``convert`` turns a layout.
    """
    turns = itertools.count()

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = next(itertools.chain(args, kwargs.values()), None)
            if not isinstance(x, Tensor) or x.dim() < 2:
                got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
                raise CannotRecalibrateError(f"{path(name)} got {got}; its input is to be [N, C, *space]")
            if x.numel():
                merge(seen, name, moments_of(x.detach(), next(turns)))

        return hook

    with contextlib.ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.register_forward_pre_hook(watch(name), with_kwargs=True).remove)
        yield
