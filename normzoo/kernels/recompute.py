"""Gradient checkpointing runs forward again inside backward: statistics must not move twice, nor r and d change."""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections import deque
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

KEPT = 64  # forwards whose backward may still come, as in a pipeline; some vectors of C values each
CLOSE = 1e-3  # a recomputed statistic, relative to the spread: kernels may add in another order
USED = 1e-5  # how much farther one counts for every time that it was found before


def is_recomputing() -> bool:
    """Tell whether this runs inside a backward pass, where a forward can only be a checkpoint's recomputation.

    Under torch.compile this is False: what is traced once cannot know when it will run.
    """
    # private, but the only way to tell
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def unseen() -> contextlib.AbstractContextManager[Any]:
    """Run, in a recomputation, what forward did not run: selective checkpointing compares their operations."""
    found: contextlib.AbstractContextManager[Any] = _disable_current_modes()  # private, and what torch uses for this
    return found


class _Kept(NamedTuple):
    mean: Tensor
    std: Tensor
    r: Tensor
    d: Tensor
    used: list[Tensor]  # empty, or how often it was found


class Corrections:
    """What recent forwards did, found again by the batch statistics that they saw.

    A recomputation sees the batch that its forward saw, but moved running statistics: r and d are those of then. They
    are searched on the device, without waiting for it. Of forwards that saw the same batch, the latest of those that
    were found least often is taken, since one backward meets its regions in reverse. The batch is all there is to tell
    them by: where the same one waits several times and is met in another order (backwards in the order of the forwards,
    one forward that is never differentiated, one region that uses a layer twice on it), one is taken for the other.
    """

    def __init__(self) -> None:
        self._kept: deque[_Kept] = deque(maxlen=KEPT)
        self.key = next(_keys)
        _stores[self.key] = self

    def keep(self, mean: Tensor, std: Tensor, r: Tensor, d: Tensor) -> None:
        """Remember r and d [C] of a forward that saw this mean and standard deviation [C]."""
        self._kept.append(_Kept(mean, std, r, d, []))

    def find(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """Give r and d [C] of the forward that saw these statistics; not a number where there was none.

        Not a number, because an error would have to wait for the device, and a wrong gradient must not pass.
        """
        if not self._kept:
            return torch.full_like(mean, torch.nan), torch.full_like(mean, torch.nan)
        latest_first = list(reversed(self._kept))
        means, stds, rs, ds = (torch.stack(one) for one in zip(*(entry[:4] for entry in latest_first), strict=True))
        gaps = (torch.maximum((means - mean).abs(), (stds - std).abs()) / std).amax(1).nan_to_num(nan=torch.inf)
        used = torch.stack([one.used[0] if one.used else torch.zeros_like(gaps[0]) for one in latest_first])
        nearest = (gaps + USED * used).argmin()[None]  # the first of equal ones
        self._mark(latest_first, torch.zeros_like(used).index_fill(0, nearest, 1).add_(used))
        found = gaps[nearest] <= CLOSE
        return torch.where(found, rs[nearest][0], torch.nan), torch.where(found, ds[nearest][0], torch.nan)

    def _mark(self, entries: list[_Kept], used: Tensor) -> None:
        for entry, mark in zip(entries, used.unbind(), strict=True):
            entry.used[:] = [mark]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)()  # a copy of a layer has run no forward

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()


_keys = itertools.count()
_stores: weakref.WeakValueDictionary[int, Corrections] = weakref.WeakValueDictionary()
_NONE = Corrections()  # of no layer, and empty


@torch.library.custom_op("normzoo::settle", mutates_args=())
def settle(mean: Tensor, std: Tensor, r: Tensor, d: Tensor, key: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give r, d [C] and 1 for a forward; for a recomputation r and d of its forward, and 0: nothing is to move.

    For compiled code, which traces forward once: an operation that it cannot see through knows, when it runs, which of
    the two it is in.
    """
    store = _stores.get(key, _NONE)  # exported code outlives its layer
    if torch._C._current_graph_task_id() != -1:
        return *store.find(mean, std), torch.zeros_like(mean[0])
    if store is not _NONE:
        store.keep(mean.clone(), std.clone(), r.clone(), d.clone())  # compiled code uses its memory again
    return r.clone(), d.clone(), torch.ones_like(mean[0])


@settle.register_fake
def _(mean: Tensor, std: Tensor, r: Tensor, d: Tensor, key: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(r), torch.empty_like(d), torch.empty_like(mean[0])
