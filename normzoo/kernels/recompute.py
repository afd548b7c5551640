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

    Under torch.compile this is False: what is traced once cannot know when it will run. ``move_once`` and
    ``Corrections`` work there, too.
    """
    # private, but the only way to tell
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def is_compiled() -> bool:
    """Tell whether what is traced here may run as a recomputation, which only an operation at that time can know.

    An exported program is not trained through checkpoints, and would need that operation wherever it is loaded.
    """
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting()


@torch.no_grad()
def move_once(buffer: Tensor, value: Tensor, weight: float | Tensor | None = None) -> None:
    """Move a buffer in place, once: not when gradient checkpointing runs a forward again, eager or compiled.

    Without a weight the buffer takes the value; with one, from 0 to 1, it goes that part of the way, as ``lerp_`` does.
    Shapes: ``value`` is like the buffer and is cast to its type. Nothing of it is kept for backward.

    >>> normzoo.move_once(self.running_mean, mean, self.momentum)
    >>> normzoo.move_once(self.num_batches_tracked, self.num_batches_tracked + 1)
    """
    value = value.detach().to(buffer.dtype)
    if is_compiled():
        moved = value if weight is None else buffer.lerp(value, weight)
        buffer.copy_(torch.where(is_first_run(buffer.device), moved, buffer))
    elif is_recomputing():
        return
    elif weight is None:
        buffer.copy_(value)
    else:
        buffer.lerp_(value, weight)


# not in a CUDA graph, where the answer of the capture would stay
@torch.library.custom_op("normzoo::is_first_run", mutates_args=(), tags=(torch.Tag.cudagraph_unsafe,))
def is_first_run(device: torch.device) -> Tensor:
    """Give [] of a truth value: whether compiled code runs outside of a backward pass, so not in a recomputation.

    All layers of a compiled model ask the same, so the compiler leaves one call of them.
    """
    return torch.full((), torch._C._current_graph_task_id() == -1, device=device)


@is_first_run.register_fake
def _(device: torch.device) -> Tensor:
    return torch.empty((), dtype=torch.bool, device=device)


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
    """What a layer derived from its moving statistics in recent forwards, found again by the batch that they saw.

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

    def settle(self, mean: Tensor, std: Tensor, r: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """Give r and d [C] back; in a recomputation, eager or compiled, those that its forward gave here.

        For a layer whose training reads moving statistics: a recomputation finds them moved, and compiled code derives
        again in backward what it could save. What is settled is neither. r and d stand for any two such vectors; mean
        and standard deviation [C] of the batch tell the forwards apart. All are taken as constants by backward.

        >>> r, d = self.corrections.settle(mean, std, r, d)  # self.corrections = normzoo.Corrections(), in __init__
        """
        mean, std, r, d = (tensor.detach() for tensor in (mean, std, r, d))
        if torch.compiler.is_compiling():
            r, d, _ = settle(mean, std, r, d, self.key)
        elif is_recomputing():
            with torch.no_grad(), unseen():
                return self.find(mean, std)
        else:
            self.keep(*(tensor.clone() for tensor in (mean, std, r, d)))  # what came may be a view of a buffer
        return r, d

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
