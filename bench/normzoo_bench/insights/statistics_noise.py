"""The measure ``statistics_noise``: how far the mean and variance of a few samples are from those of all.

Over independent draws of n samples the mean errs by σ/√n, and the variance by σ²·√((κ − 1)/n) of it, κ being the
kurtosis of what varies between samples. In these units Batch Renormalization has its correction: r = σ_B/σ and
d = (μ_B − μ)/σ (Ioffe 2017, arXiv:1702.03275, section 3), which the paper clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from normzoo_bench.accuracy import Ended, Run
from normzoo_bench.data import DataSet
from normzoo_bench.insights.trained import after_training, norm_layers
from normzoo_bench.result import CannotRun, Result
from normzoo_bench.seeds import stream
from normzoo_bench.training.trainer import autocast
from normzoo_suites.settings import StatisticsNoiseSettings

DRAWS = 200
"""Batches that are drawn."""

CHUNK = 250
"""Samples that are fed at once."""

EPS = 1e-5
R_MAX, D_MAX = 3.0, 5.0  # Ioffe 2017, section 4.1

KEPT = 2000
"""Values of r and of d that a record keeps."""


def measure(cells: Sequence[StatisticsNoiseSettings], data: DataSet) -> list[Ended]:
    """Train once, and draw batches for every cell."""
    return after_training(cells, data, _look)


def _look(run: Run, settings: StatisticsNoiseSettings) -> Result:
    layers = norm_layers(run.training.model, settings)
    layer = layers[{"first": 0, "middle": len(layers) // 2, "last": -1}[settings.depth]]
    means, squares = _moments(run, layer)
    draw = stream(settings.seed, f"batches of {settings.samples}").integers(len(means), size=(DRAWS, settings.samples))
    metrics, r, d = noise(means, squares, torch.from_numpy(draw))
    samples = {"r": _some(r), "d": _some(d)}
    return Result(metrics, dict(run.training.series), samples, options=run.options)


def noise(means: Tensor, squares: Tensor, draws: Tensor) -> tuple[dict[str, float], Tensor, Tensor]:
    """Hold the statistics of drawn batches against those of all samples.

    Args:
        means: of each sample and channel over space, [M, C], float64.
        squares: likewise, of the squares.
        draws: which samples make up each batch, [draws, n].

    Returns:
        the metrics, and r and d of every draw and channel, [draws, C]. Channels that never vary are left out.

    Raises:
        CannotRun: when no channel varies.

    """
    mean = means.mean(0)
    variance = squares.mean(0) - mean.square()
    alive = variance > 1e-12 * squares.mean(0).clamp(min=1e-30)
    if not alive.any():
        raise CannotRun("no channel of the layer varies over the training part")
    means, squares, mean, variance = means[:, alive], squares[:, alive], mean[alive], variance[alive]
    m = torch.stack([means[own].mean(0) for own in draws])
    v = torch.stack([squares[own].mean(0) for own in draws]) - m.square()
    d = (m - mean) / (variance + EPS).sqrt()
    r = ((v.clamp(min=0) + EPS) / (variance + EPS)).sqrt()
    errors = {
        "mean_error": ((m - mean) / variance.sqrt()).square().mean().sqrt().item(),
        "variance_error": (v / variance - 1).square().mean().sqrt().item(),
    }
    root = draws.shape[1] ** 0.5
    clipped = (r > R_MAX) | (r < 1 / R_MAX) | (d.abs() > D_MAX)
    low, high = np.quantile(r.numpy(), (0.05, 0.95))
    told = {
        "r_p05": float(low),
        "r_p95": float(high),
        "d_p95": float(np.quantile(d.abs().numpy(), 0.95)),
        "clipped_share": clipped.double().mean().item(),
    }
    return errors | {f"{name}_scaled": value * root for name, value in errors.items()} | told, r, d


def _moments(run: Run, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Give the first two moments of what enters a layer, over space: of each training sample and channel, [M, C]."""
    found: list[tuple[Tensor, Tensor]] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach().double().reshape(*inputs[0].shape[:2], -1)
        found.append((values.mean(2).cpu(), values.square().mean(2).cpu()))

    handle = layer.register_forward_pre_hook(note)
    model = run.training.model
    model.eval()
    try:
        with torch.no_grad(), autocast(run.settings):
            for start in range(0, len(run.train), CHUNK):
                model(run.train.batch(slice(start, start + CHUNK))[0])
    finally:
        handle.remove()
        model.train()
    return torch.cat([one for one, _ in found]), torch.cat([one for _, one in found])


def _some(values: Tensor) -> list[float]:
    """Give so many of the values as a record keeps, evenly spread over draws and channels."""
    flat = values.flatten()
    return [float(one) for one in flat[:: max(1, len(flat) // KEPT)][:KEPT]]
