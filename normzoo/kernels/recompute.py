"""Gradient checkpointing runs forward again inside backward: statistics must not move twice, nor r and d change."""

from __future__ import annotations

from collections import deque
from typing import Any, Self

import torch
from torch import Tensor

KEPT = 64  # forwards whose backward may still come, as in a pipeline; some vectors of C values each
CLOSE = 1e-3  # a recomputed mean, relative to the spread: kernels may add in another order


def is_recomputing() -> bool:
    """Tell whether this runs inside a backward pass, where a forward can only be a checkpoint's recomputation."""
    # private, but the only way to tell; under compile the recomputation is part of the graph and moves nothing
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


class Corrections:
    """What recent forwards did, found again by the batch statistics that they saw.

    A recomputation sees the batch that its forward saw, but moved running statistics: r and d are those of then. They
    are searched on the device, without waiting for it.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=KEPT)

    def keep(self, mean: Tensor, r: Tensor, d: Tensor) -> None:
        """Remember r and d [C] of a forward that saw this mean [C]."""
        self._kept.append((mean, r, d))

    def find(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """Give r and d [C] of the last forward that saw this mean; not a number where there was none.

        Not a number, because an error would have to wait for the device, and a wrong gradient must not pass.
        """
        if not self._kept:
            return torch.full_like(mean, torch.nan), torch.full_like(mean, torch.nan)
        means, rs, ds = (torch.stack(one) for one in zip(*reversed(self._kept), strict=True))
        gaps = ((means - mean).abs() / std).amax(1)
        nearest = gaps.argmin()[None]  # the first, hence the latest, of equal ones
        found = gaps[nearest] <= CLOSE
        return (torch.where(found, one[nearest][0], torch.nan) for one in (rs, ds))  # type: ignore[return-value]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)()  # a copy of a layer has run no forward

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()
