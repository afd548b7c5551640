"""Moments: a number of values, their mean and their sum of centred squares.

Two of them merge into exactly those of all values together (Chan, Golub & LeVeque 1979), so that it does not matter how
data is cut into batches and ranks. An average of the batches' variances weighs unequal batches alike and misses the
variance between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Moments:
    """Of what one layer saw: values per channel, their mean and sum of centred squares ([C], float64), its turn."""

    count: int
    mean: Tensor
    squares: Tensor
    turn: int  # its first call, among all calls of layers in this process

    def add(self, other: Moments) -> None:
        """Merge other values in, by Chan, Golub & LeVeque 1979."""
        total, apart = self.count + other.count, other.mean - self.mean
        self.squares += other.squares + apart.square() * (self.count / total * other.count)
        self.mean += apart * (other.count / total)
        self.count, self.turn = total, min(self.turn, other.turn)


def moments_of(x: Tensor, turn: int) -> Moments:
    """Give the moments of x [N, C, *space] per channel, where it lies (Apple's GPUs have no float64).

    By two passes over one float64 copy: at a mean of 1e4, one pass (torch.var_mean) loses some hundred times more.
    """
    values = (x.cpu() if x.device.type == "mps" else x).to(torch.float64, copy=True)
    axes = [0, *range(2, x.dim())]
    mean = values.mean(axes, keepdim=True)
    squares = values.sub_(mean).square_().sum(axes)
    return Moments(x.numel() // x.shape[1], mean.flatten(), squares, turn)


def merge(into: dict[str, Moments], name: str, moments: Moments) -> None:
    """Merge moments into those of a layer, which may have none yet."""
    if name in into:
        into[name].add(moments)
    else:
        into[name] = moments
