"""Synchronized normalizers in three gloo processes: equal to one with the whole batch, and few words between them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

import normzoo

RANKS, CHANNELS = 3, 5
SHARDS = [(4, 2, 3), (7, 0, 2), (1, 0, 0), (3, 3, 3)]  # samples of each rank, step by step
RENORM = {"momentum": 0.2, "r_max": 1.6, "d_max": 0.7, "warmup_steps": 6, "average": "cumulative"}
LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sync_batch_norm": ("batch_norm", {}),
    "sync_batch_renorm": ("batch_renorm", RENORM),
}
Found = dict[str, Any]


def layer(name: str, **options: Any) -> nn.Module:
    module = normzoo.create(name, CHANNELS, **options).double()
    with torch.no_grad():
        module.weight.copy_(torch.linspace(0.5, 1.5, CHANNELS))
        module.bias.copy_(torch.linspace(-1, 1, CHANNELS))
    return module


def batch(step: int) -> tuple[Tensor, Tensor]:
    """The whole batch of a step and the gradient that comes back, which drift so that r and d change."""
    draw = torch.Generator().manual_seed(step)
    x, gradient = (torch.randn(sum(SHARDS[step]), CHANNELS, 2, 3, generator=draw, dtype=torch.float64) for _ in "xg")
    return x * (1 + 0.3 * step) + 0.5 * step, gradient


def train(module: nn.Module, rank: int | None = None) -> list[Found]:
    """Run all steps on one rank's shards, or on the whole batches; give outputs, gradients and buffers of each."""
    found = []
    for step, sizes in enumerate(SHARDS):
        x, gradient = batch(step)
        if rank is not None:
            x, gradient = x.split(sizes)[rank], gradient.split(sizes)[rank]
        if step % 2:
            x = x.contiguous(memory_format=torch.channels_last)
        x = x.clone(memory_format=torch.preserve_format).requires_grad_()
        module.zero_grad()
        y = module(x)
        y.backward(gradient)
        moved = {name: buffer.clone() for name, buffer in module.named_buffers()}
        parameters = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
        found.append({"y": y.detach(), "of_x": x.grad, "parameters": parameters, "buffers": moved})
    return found


def twice(module: nn.Module, rank: int | None = None) -> Tensor:
    """Give the gradient, by the input, of a function of the gradient by the input."""
    x, gradient = batch(0)
    if rank is not None:
        x, gradient = x.split(SHARDS[0])[rank], gradient.split(SHARDS[0])[rank]
    x = x.requires_grad_()
    (first,) = torch.autograd.grad(module(x), x, gradient, create_graph=True)
    first.pow(2).sum().backward()
    return x.grad


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What each of the processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(folder)]
    processes = [
        subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True, env=environment)
        for rank in range(RANKS)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert not any(process.returncode for process in processes), errors
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.parametrize("name", LAYERS)
def test_unequal_and_empty_shards_are_one_process_with_the_whole_batch(name: str, found: list[Found]) -> None:
    alone, options = LAYERS[name]
    for step, expected in enumerate(train(layer(alone, **options))):
        ranks = [one[name][step] for one in found]
        for key in ("y", "of_x"):
            torch.testing.assert_close(torch.cat([rank[key] for rank in ranks]), expected[key], rtol=1e-12, atol=1e-12)
        for key, gradient in expected["parameters"].items():
            shares = torch.stack([rank["parameters"][key] for rank in ranks])
            torch.testing.assert_close(shares.sum(0), gradient, rtol=1e-12, atol=1e-12)
        for rank in ranks:
            torch.testing.assert_close(rank["buffers"], expected["buffers"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_a_gradient_of_the_gradient_goes_through_all_ranks(name: str, found: list[Found]) -> None:
    alone, options = LAYERS[name]
    got = torch.cat([one[f"{name} twice"] for one in found])
    torch.testing.assert_close(got, twice(layer(alone, **options)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_there_is_one_collective_forward_and_one_backward(name: str, found: list[Found]) -> None:
    for one in found:
        assert one[f"{name} talk"] == {"forward": {"all_gather_into_tensor": 1}, "backward": {"all_reduce": 1}}


def test_a_group_of_some_ranks_leaves_the_others_out(found: list[Found]) -> None:
    """Ranks 0 and 1 share statistics, rank 2 is alone in its group, where the layer is batch norm."""
    x, _ = batch(0)
    shards = x.split(SHARDS[0])
    expected = [layer("batch_norm")(torch.cat(shards[:2])), layer("batch_norm")(shards[2])]
    got = [torch.cat([found[0]["groups"], found[1]["groups"]]), found[2]["groups"]]
    torch.testing.assert_close(got, [y.detach() for y in expected], rtol=1e-12, atol=1e-12)


def test_one_value_on_all_ranks_together_is_refused_on_every_rank(found: list[Found]) -> None:
    for one in found:
        assert one["refused"] == (
            "a batch statistic needs 2 values per channel over all ranks, got 1; "
            "use a larger batch, or a normalizer that does not pool over the batch"
        )


@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm", "sync_batch_norm", "sync_batch_renorm"])
def test_data_parallel_training_may_run_forward_twice_before_backward(name: str, found: list[Found]) -> None:
    """DDP broadcasts rank 0's buffers at every forward: they are written between the first forward and its backward."""
    for one in found:
        assert one[f"ddp {name}"]["gradients"].isfinite().all()
    copies = [one[f"ddp {name}"]["gradients"] for one in found]
    assert torch.equal(copies[0], copies[1])
    expected = found[0][f"ddp {name}"]["expected"]
    torch.testing.assert_close(copies[0], expected, rtol=1e-12, atol=1e-12)


def counted(name: str, rank: int) -> dict[str, dict[str, int]]:
    """Count the collectives of one training step."""
    calls: Counter[str] = Counter()

    def counting(kind: str, call: Any) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            calls[kind] += 1
            return call(*arguments, **options)

        return wrapped

    collectives = ("all_gather_into_tensor", "all_gather", "all_reduce", "broadcast", "all_gather_object")
    originals = {kind: getattr(dist, kind) for kind in collectives}
    for kind, call in originals.items():
        setattr(dist, kind, counting(kind, call))
    x = batch(0)[0].split(SHARDS[0])[rank].requires_grad_()
    y = layer(name)(x)
    forward = dict(calls)
    calls.clear()
    y.sum().backward()
    for kind, call in originals.items():
        setattr(dist, kind, call)
    return {"forward": forward, "backward": dict(calls)}


def in_ddp(name: str, rank: int) -> Found:
    """Run two forwards, then one backward, under DDP; and the same by hand: rank 0's buffers, mean gradients."""
    gradients = []
    for parallel in (True, False):
        module = layer(name)
        model = nn.parallel.DistributedDataParallel(module, broadcast_buffers=True) if parallel else module
        shards = [batch(step)[0].split(SHARDS[step])[rank] for step in (0, 3)]
        losses = []
        for x in shards:
            for buffer in () if parallel else module.buffers():
                dist.broadcast(buffer, 0)
            losses.append(model(x).pow(3).sum())
        sum(losses).backward()
        gradient = torch.cat([parameter.grad for parameter in module.parameters()])
        if not parallel:
            dist.all_reduce(gradient)
            gradient /= RANKS
        gradients.append(gradient)
    return {"gradients": gradients[0], "expected": gradients[1]}


def refusal(rank: int) -> str:
    try:
        layer("sync_batch_norm")(torch.zeros(int(rank == 1), CHANNELS, 1, 1, dtype=torch.float64))
    except normzoo.TooFewValuesError as error:
        return str(error)
    return "not refused"


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    meeting = (folder / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=RANKS, timeout=timedelta(seconds=60))
    results: Found = {}
    for name, (_, options) in LAYERS.items():
        results[name] = train(layer(name, **options), rank)
        results[f"{name} twice"] = twice(layer(name, **options), rank)
        results[f"{name} talk"] = counted(name, rank)
    group = [dist.new_group(ranks) for ranks in ([0, 1], [2])][rank // 2]
    own = batch(0)[0].split(SHARDS[0])[rank]
    results["groups"] = layer("sync_batch_norm", process_group=group)(own).detach()
    results["refused"] = refusal(rank)
    for name in ("batch_norm", "batch_renorm", "sync_batch_norm", "sync_batch_renorm"):
        results[f"ddp {name}"] = in_ddp(name, rank)
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
