"""One rank of the measure ``sync_cost``: the same steps as the other ranks, at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import normzoo
from normzoo import TooFewValuesError
from normzoo_bench.environment import cores
from normzoo_bench.processes.training import own_device
from normzoo_bench.result import CannotRun, Result, options_as_built
from normzoo_bench.speed import conditions
from normzoo_bench.speed.collectives import collectives_of
from normzoo_bench.speed.figures import spread
from normzoo_bench.speed.gate import logits_error, require_logits
from normzoo_bench.speed.layers import REFERENCE
from normzoo_bench.speed.model_steps import images, model_of, optimizer_of, training_step
from normzoo_bench.timing import Clock, Step, clock_of, watched_pairs
from normzoo_bench.timing.allocator import keep_freed_memory
from normzoo_suites import parse_call
from normzoo_suites.settings import SyncCostSettings


@dataclass(frozen=True)
class Ready:
    """A model in DistributedDataParallel, ready to be timed: its step, and its largest error on any rank."""

    model: nn.Module
    step: Callable[[], Tensor]
    error: float


def measure(settings: SyncCostSettings, join: Callable[[], None], rank: int) -> Result | None:
    """Time the model's step and that with batch norm in turn, as one rank; rank 0 gives the result.

    ``join`` makes the process group, which is gone afterwards.

    Raises:
        CannotRun: when there are too few values for either normalizer.
        RuntimeError: when logits are off; a wrong model's speed is not published.

    """
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    own_device(settings.device)
    names = (settings.normalizer, REFERENCE)
    try:
        exact = [exact_logits(name, settings, rank) for name in names]
    except TooFewValuesError as reason:  # raised by all ranks alike
        raise CannotRun(str(reason)) from None
    join()
    candidate, reference = (ready(*pair, settings, rank) for pair in zip(names, exact, strict=True))
    result = _timed(settings, candidate, reference)
    dist.barrier()
    dist.destroy_process_group()
    return None if rank else result


def exact_logits(normalizer: str, settings: SyncCostSettings, rank: int) -> Tensor:
    """Compute a rank's logits [n, 1000] in float64, by this process alone.

    One that pools over ranks is given all ranks' images at once: to be called before there is a process group, without
    which it synchronizes nothing, and normalizes the batch that it has.
    """
    pooled = "rank" in normzoo.card(parse_call(normalizer).name).pools
    seeds = range(settings.ranks) if pooled else [rank]
    x = torch.cat([images(settings, settings.local_batch, seed)[0] for seed in seeds])
    with torch.no_grad():
        logits: Tensor = model_of(normalizer, settings).double()(x.double())
    return logits.chunk(len(seeds))[rank if pooled else 0]


def ready(normalizer: str, exact: Tensor, settings: SyncCostSettings, rank: int) -> Ready:
    """Build a rank's model and its step, and hold the first step's logits against exact ones.

    Raises:
        RuntimeError: on all ranks when the logits of one are off.

    """
    model = model_of(normalizer, settings)
    batch = images(settings, settings.local_batch, seed=rank)
    step = training_step(DistributedDataParallel(model), optimizer_of(model), batch, settings)
    error = slowest(logits_error(step(), exact), settings.device)
    whose = f"{settings.model} with {normalizer} on {settings.ranks} rank(s)"
    require_logits(whose, error, settings.precision, settings.device)
    return Ready(model, step, error)


def together(clock: Clock, device: str) -> Clock:
    """Give a clock for all ranks: a sample starts when all are there, and lasts as long as the slowest needs.

    So all ranks see the same times, and decide alike when they are warm and how often to repeat.
    """

    def timed(step: Step, count: int) -> float:
        slowest(0.0, device)  # a barrier
        return slowest(clock(step, count), device)

    return timed


def slowest(value: float, device: str) -> float:
    """Give the largest of the ranks' values, to all of them."""
    agreed = torch.tensor([value], dtype=torch.float64, device=device)
    dist.all_reduce(agreed, dist.ReduceOp.MAX)
    return float(agreed)


def _timed(settings: SyncCostSettings, candidate: Ready, reference: Ready) -> Result:
    clock = together(clock_of(settings.device), settings.device)
    timed, machine = watched_pairs(candidate.step, reference.step, clock, settings.device)
    metrics = spread("sync_step_ms", timed)
    metrics["sync_images_per_s"] = settings.batch_size / metrics["sync_step_ms"] * 1e3
    held: dict[str, Any] = {"backend": dist.get_backend(), "error_vs_float64": candidate.error}
    for whose, one in (("", candidate), ("batch_norm_", reference)):
        said = collectives_of(one.step, settings.device)
        ms = slowest(said.ms, settings.device)
        metrics |= {f"{whose}collectives": said.count, f"{whose}collective_ms": ms}
        held[f"{whose}collective_bytes"] = said.bytes
    held |= {
        "shares_cores": shares_cores(settings),
        **conditions.of_switches(settings.device),
        **machine,
    }
    card = normzoo.card(parse_call(settings.normalizer).name)
    layers = [layer for layer in candidate.model.modules() if isinstance(layer, card.factory)]
    samples = {"sync_step_ms": timed.candidate, "batch_norm_sync_step_ms": timed.reference}
    return Result(metrics, samples=samples, options=options_as_built(layers, card), conditions=held)


def shares_cores(settings: SyncCostSettings) -> bool:
    """Tell whether the ranks of this machine have more threads than it has cores, and so wait for each other's."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", settings.ranks))
    return here * settings.threads > cores()
