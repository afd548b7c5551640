"""Trials of the timer: a layer against itself, and against one that does a tenth more, each in a fresh process."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import Tensor

import normzoo
from normzoo.norms.batch_norm import BatchNorm
from normzoo_bench.speed import layers
from normzoo_suites.settings import ThroughputSettings


@normzoo.register("a_tenth_slower", paper="none", year=None, pools={"batch", "space"}, running_stats=True)
class ATenthSlower(BatchNorm):
    """Batch norm that does a tenth of its work, forward and backward, once more."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)
        self.again = BatchNorm(num_features)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize, and a tenth of the samples for nothing."""
        tenth = x[: len(x) // 10].detach().requires_grad_()
        with torch.enable_grad():
            torch.autograd.grad(self.again(tenth), [tenth, *self.again.parameters()], tenth.detach())
        return super().forward(x)


def ratios(normalizer: str, settings: ThroughputSettings, count: int) -> list[float]:
    """Give the ratio to batch norm that the measure of layers finds, in so many processes one after the other."""
    cell = settings.model_copy(update={"normalizer": normalizer})
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        return [pool.submit(_ratio, cell).result() for _ in range(count)]


def _ratio(settings: ThroughputSettings) -> float:
    return layers.measure(settings).metrics["step_ms_ratio"]
