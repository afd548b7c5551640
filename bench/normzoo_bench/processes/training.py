"""One rank's share of a training: its own samples, and what it shares with the other ranks after each step."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import FileStore  # type: ignore[attr-defined]  # torch documents it here, and has no __all__

from normzoo import Card
from normzoo.kernels.ranks import world_size
from normzoo_bench.processes.work import MEETING
from normzoo_bench.ranks import is_split, virtualize
from normzoo_bench.training.trainer import Batches, Training, layout
from normzoo_suites.settings import AccuracySettings

SILENCE = timedelta(minutes=30)  # of another rank, which may be slow; a dead one is seen at once


def join(folder: Path, device: str) -> None:
    """Make the process group of the ranks on this machine, which meet in a folder."""
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback:  # only processes of this machine are to reach a rank
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
        os.environ.setdefault("NCCL_SOCKET_IFNAME", loopback[0])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group(
        backend(device),
        store=FileStore(str(folder / MEETING), size),  # torch takes a file's URI as it is: %20 would be no space
        rank=rank,
        world_size=size,
        timeout=SILENCE,
        device_id=own_device(device),
    )


def backend(device: str) -> str:
    """Name the library by which ranks on such devices talk."""
    return "nccl" if device == "cuda" else "gloo"


def own_device(device: str) -> torch.device | None:
    """Take this rank's own GPU; give None on CPU."""
    if device != "cuda":
        return None
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(own)
    return own


def begin(model: nn.Module, card: Card, batches: Batches, settings: AccuracySettings) -> RankTraining:
    """Begin this rank's share of a training; all start from rank 0's weights, as with DistributedDataParallel."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(_sent(tensor))
    return RankTraining(model, card, batches, settings)


class RankTraining(Training):
    """A training of which this process has one rank's samples: i of each batch with i mod W = rank, of W ranks.

    The loss is the mean over all ranks' samples, this rank's part of it weighed n_r/N; gradients are summed over ranks,
    so that every rank takes the same step. Buffers are as in ``VirtualRanks``: where training reads them, every rank
    has rank 0's after a step, or the mean; else each rank keeps its own. Without a process group, as a branch has it
    that goes on when the others have ended, it is a plain training.
    """

    def __init__(self, model: nn.Module, card: Card, batches: Batches, settings: AccuracySettings) -> None:
        super().__init__(model, batches, settings)
        self.card, self.share = card, 1.0
        self.tied = is_split(card, world_size(None)) and not card.eval_only_stats
        # before a step is all that is hooked in: a branch's optimizer is a copy, and copies come without hooks
        self.optimizer.register_step_pre_hook(lambda *_: self._sum_gradients())

    def step(self) -> None:
        """Take this rank's part of a batch, and the step of all ranks."""
        super().step()
        if self.tied and world_size(None) > 1:
            self._tie()

    def end(self) -> None:
        """Write an epoch's numbers down, those of all ranks."""
        if world_size(None) > 1:
            dist.all_reduce(self.loss_sum)
            dist.all_reduce(self.hits)
        super().end()

    def gather(self) -> None:
        """Give the model every rank's buffers, as virtual ranks have them, where they differ; see ``VirtualRanks``."""
        every = [{name: _of_all(own) for name, own in layer.named_buffers()} for layer in self._layers()]
        layers = virtualize(self.model, self.card, world_size(None), self.settings.buffers)
        for layer, states in zip(layers, every, strict=bool(layers)):
            layer.states = states

    def _take(self) -> tuple[Tensor, Tensor]:
        images, labels = super()._take()
        ranks = world_size(None)
        own = slice(dist.get_rank() if ranks > 1 else 0, None, ranks)
        self.share = len(labels[own]) / len(labels)
        return images[own].contiguous(memory_format=layout(self.settings)), labels[own]

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super()._loss(logits, labels) * self.share

    def _layers(self) -> Sequence[nn.Module]:
        return [layer for layer in self.model.modules() if isinstance(layer, self.card.factory)]

    def _sum_gradients(self) -> None:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        total = torch.cat([gradient.reshape(-1) for gradient in gradients])  # one message, not one per parameter
        dist.all_reduce(total)
        for gradient, own in zip(gradients, total.split([one.numel() for one in gradients]), strict=True):
            gradient.copy_(own.view(gradient.shape))

    @torch.no_grad()
    def _tie(self) -> None:
        for buffer in (one for layer in self._layers() for one in layer.buffers()):
            if self.settings.buffers == "mean" and buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= world_size(None)
            else:
                buffer.copy_(_sent(buffer))


def _sent(tensor: Tensor) -> Tensor:
    """Give rank 0's value of a tensor, in the plain layout that can be sent."""
    sent = tensor.detach().contiguous().clone()
    dist.broadcast(sent, 0)
    return sent


def _of_all(own: Tensor) -> Tensor:
    """Give all ranks' values of a tensor, [W, …]."""
    every = [torch.empty_like(own) for _ in range(world_size(None))]
    dist.all_gather(every, own.contiguous())
    return torch.stack(every)
