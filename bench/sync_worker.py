"""One rank of `bench_sync.py`, started by it with the others: ``python bench/sync_worker.py FOLDER RANK``.

Times are taken inside the ranks. Every sample starts together and counts as long as its slowest rank needs, so that all
ranks see the same times, and decide alike when they are warm and how often to repeat.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import naive
import normzoo
from cases import Case, paired, step_of
from check import largest_error, load, moved, results, verdict
from normzoo_bench.timing import Clock, Step
from normzoo_bench.timing.allocator import keep_freed_memory

PATIENCE = timedelta(seconds=120)  # with a rank that does not answer


class SumOverRanks(torch.autograd.Function):
    """An all-reduce whose gradient is the sum over ranks, too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """Sum a tensor of any shape."""
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Sum its gradient."""
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class NaiveSync(naive.BatchNorm):
    """Synchronized batch norm as first thought of: the mean and the mean of squares are averaged over ranks.

    Right where every rank has as many samples, and the mean is small.
    """

    def normalized(self, x: Tensor) -> Tensor:
        """Give x̂ by all ranks' batches."""
        axes, ranks = [0, *range(2, x.dim())], dist.get_world_size()
        mean, square = (SumOverRanks.apply(part) / ranks for part in (x.mean(axes), x.square().mean(axes)))
        var, count = square - mean.square(), x.numel() // x.shape[1] * ranks
        with torch.no_grad():
            self.running_mean += 0.1 * (mean - self.running_mean)
            self.running_var += 0.1 * (var * (count / (count - 1)) - self.running_var)
        return (x - naive.per_channel(mean, x)) / naive.per_channel(torch.sqrt(var + self.eps), x)


LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "sync_batch_norm": lambda channels: normzoo.create("sync_batch_norm", channels),
    "sync_batch_renorm": lambda channels: normzoo.create("sync_batch_renorm", channels),
    "nn.BatchNorm2d": nn.BatchNorm2d,
    "nn.SyncBatchNorm": nn.SyncBatchNorm,
    "naive all-reduce": NaiveSync,
}
ALONE = "nn.BatchNorm2d"  # the only one that does not talk


def measure(case: Case, compared: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Check and time each candidate against each of its rivals on one case."""
    faults = {
        name: _fault(name, case)
        for name in sorted({*compared, *(rival for rivals in compared.values() for rival in rivals)})
    }
    found = []
    for candidate, rival in ((one, other) for one, rivals in compared.items() for other in rivals):
        row: dict[str, Any] = {
            "candidate": candidate,
            "rival": rival,
            "wrong": faults[candidate],
            "missing": faults[rival],
        }
        if not row["wrong"] and not row["missing"]:
            step, other = (step_of(_layer(name, case), case, "forward_backward") for name in (candidate, rival))
            pairs = paired(step, other, _clock(case))
            row |= {"candidate_ms": pairs.candidate, "rival_ms": pairs.reference}
        found.append(row)
    return found


def _layer(name: str, case: Case) -> nn.Module:
    return LAYERS[name](case.channels).to(case.device)


def _clock(case: Case) -> Clock:
    inner = case.clock()

    def clock(step: Step, count: int) -> float:
        _slowest(0.0, case.device)  # a barrier
        return _slowest(inner(step, count), case.device)

    return clock


def _slowest(value: float, device: str) -> float:
    agreed = torch.tensor([value], dtype=torch.float64, device=device)
    dist.all_reduce(agreed, dist.ReduceOp.MAX)
    return float(agreed)


def _fault(name: str, case: Case) -> str:
    """Say how a layer's results differ from float64's on all ranks' samples together; alike on all ranks."""
    rank, ranks = (0, 1) if name == ALONE else (dist.get_rank(), dist.get_world_size())
    xs = [moved(case.draw(10 + one)) + one for one in range(ranks)]  # no rank's samples are like another's
    gradients = [load(case.draw(20 + i), x) for i, x in enumerate(xs)]
    y, of_x, *of_parameters = results(_layer(name, case), xs[rank].clone(), gradients[rank])
    for gradient in of_parameters if name != ALONE else ():
        dist.all_reduce(gradient)  # each rank has its share
    formula = naive.BatchRenorm if name == "sync_batch_renorm" else naive.BatchNorm
    exact = formula(case.channels).to(case.device).double()
    wanted = results(exact, torch.cat(xs).double(), torch.cat(gradients).double())
    own = [part.chunk(ranks)[rank] for part in wanted[:2]]
    error = largest_error([y, of_x, *of_parameters], [*own, *wanted[2:]])
    return verdict(name, _slowest(error, case.device), case)


def main(folder: Path, rank: int) -> None:
    """Run the folder's ``work.json``; rank 0 writes ``rows.json``, one per comparison."""
    warnings.simplefilter("error")
    keep_freed_memory()
    torch.set_num_threads(1)
    work = json.loads((folder / "work.json").read_text(encoding="utf-8"))
    device = torch.device("cuda", rank) if work["device"] == "cuda" else None
    if device:
        torch.cuda.set_device(device)
    dist.init_process_group(
        work["backend"],
        init_method=(folder / "meeting").as_uri(),
        rank=rank,
        world_size=work["ranks"],
        timeout=PATIENCE,
        device_id=device,
    )
    found = measure(Case(**work["case"] | {"dtype": getattr(torch, work["case"]["dtype"])}), work["compared"])
    if rank == 0:
        (folder / "rows.json").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
