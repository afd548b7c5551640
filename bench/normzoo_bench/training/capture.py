"""One step of one or several trainings as a CUDA graph, replayed: no launch costs, and small models side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from normzoo_bench.ranks import VirtualRanks
from normzoo_bench.training.trainer import ResidentBatches, Training

WARM_UP = 3  # steps outside the graph in which libraries choose their kernels and optimizers make their state


class Captured:
    """Takes an epoch's steps by replaying one recorded step (gather, augment, forward, backward, update).

    The step is recorded when the first epoch has begun. Several trainings are recorded on streams of their own that
    fork from one and join it again, so that small kernels of different models run at once. What the warm-up has moved,
    running statistics among it, is put back before.
    """

    def __init__(self) -> None:
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, trainings: Sequence[Training]) -> None:
        """Take one epoch's steps."""
        for _ in range(trainings[0].batches.steps):
            self.step(trainings)

    def step(self, trainings: Sequence[Training]) -> None:
        """Take one step, recorded at the first."""
        # a training that has diverged is replayed all the same, on what its epoch began with
        if self._graph is None:
            self._graph = _record(trainings)
        self._graph.replay()


def _record(trainings: Sequence[Training]) -> torch.cuda.CUDAGraph:
    warm_up(trainings)
    graph = torch.cuda.CUDAGraph()
    sides = [torch.cuda.Stream() for _ in trainings]
    with torch.cuda.graph(graph):
        main = torch.cuda.current_stream()
        for training, side in zip(trainings, sides, strict=True):
            side.wait_stream(main)
            with torch.cuda.stream(side):
                training.step()
        for side in sides:
            main.wait_stream(side)
    return graph


def warm_up(trainings: Sequence[Training]) -> None:
    """Take a few steps and put everything back that they moved: weights, statistics, counters, random state."""
    on_cuda = trainings[0].settings.device == "cuda"
    random = torch.cuda.get_rng_state() if on_cuda else torch.get_rng_state()
    kept = [[one.clone() for one in moved(training)] for training in trainings]
    had_state = [bool(training.optimizer.state) for training in trainings]
    if on_cuda:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            _steps(trainings)
        torch.cuda.current_stream().wait_stream(side)
    else:
        _steps(trainings)
    for training, before, had in zip(trainings, kept, had_state, strict=True):
        _put_back(training, before, had)
    (torch.cuda.set_rng_state if on_cuda else torch.set_rng_state)(random)


def _steps(trainings: Sequence[Training]) -> None:
    for _ in range(WARM_UP):
        for training in trainings:
            # one epoch may have fewer steps than this
            training.position.zero_()
            if isinstance(training.batches, ResidentBatches):
                training.batches.position.zero_()
            training.step()


@torch.no_grad()
def _put_back(training: Training, before: list[Tensor], had_state: bool) -> None:
    after = list(moved(training))
    for now, then in zip(after, before, strict=False):
        now.copy_(then)
    if not had_state:
        for made in after[len(before) :]:
            made.zero_()  # the state that an optimizer starts with


def moved(training: Training) -> Iterator[Tensor]:
    """Yield every tensor that a step changes, the optimizer's state, which the first step makes, last."""
    yield from training.model.parameters()
    yield from training.model.buffers()
    for layer in training.model.modules():
        if isinstance(layer, VirtualRanks):
            yield from layer.states.values()
    if training.average is not None:
        yield from training.average.module.state_dict().values()
        for layer in training.average.module.modules():
            if isinstance(layer, VirtualRanks):
                yield from layer.states.values()
    yield from (training.position, training.loss_sum, training.hits)
    if isinstance(training.batches, ResidentBatches):
        yield training.batches.position
    for parameter in training.model.parameters():
        state = training.optimizer.state.get(parameter, {})
        yield from (value for value in state.values() if isinstance(value, Tensor))
