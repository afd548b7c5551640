"""Batch normalization: every channel by the mean and variance of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from normzoo.kernels.choose import is_transformed
from normzoo.kernels.forms import canonical, like_input, wide
from normzoo.kernels.moments import batch_moments
from normzoo.kernels.normalize import Moments, normalize
from normzoo.kernels.recompute import is_compiled, is_recomputing, move_once, unseen
from normzoo.norms._common import check_batch_values, check_channels, keep_buffers_wide
from normzoo.registry import register


@register(
    "batch_norm",
    paper="arXiv:1502.03167",
    year=2015,
    pools={"batch", "space"},
    running_stats=True,
    eval_only_stats=True,
)
class BatchNorm(_BatchNorm):
    """Batch normalization (Ioffe & Szegedy 2015, algorithm 1).

    torch's own kernels, for any number of space axes.
    Shapes: x is [N, C, *space] with 0 to 3 space axes; the result has its shape, dtype and memory layout.
    Training normalizes by the biased variance of the batch and stores the unbiased one, as torch does; eval uses the
    running statistics. ``momentum`` is torch's: the weight of the new batch. Buffers stay float32 when parameters are
    narrower.

    Where torch's are wrong they are not used: on CPUs in channels_last it sums all rows in float32, and large batches
    with a large mean lose their variance; this layer sums in parts. Besides, unlike torch's, it may be checkpointed
    (statistics move once, compiled or not), and its buffers may be written between forward and backward.

    Raises:
        TooFewValuesError: in training, with fewer than 2 values per channel.

    """

    running_mean: Tensor  # [C]
    running_var: Tensor  # [C], unbiased

    def __init__(self, num_features: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x [N, C, *space]."""
        return batch_norm(self, x)

    def set_population(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Take mean and biased variance [C] of ``count`` values per channel as running statistics."""
        set_population(self, mean, var, count)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        with keep_buffers_wide(self):
            return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]  # torch's has no types


def batch_norm(module: _NormBase, x: Tensor) -> Tensor:
    """Normalize x [N, C, *space] with a module's parameters and buffers, by this process's batch alone."""
    check_channels(x, module.weight.shape[0])
    return like_input(_batch_norm(module, canonical(x)), x)


def _batch_norm(module: _NormBase, x: Tensor) -> Tensor:
    weight, bias = wide(module.weight), wide(module.bias)
    if not module.training:
        return F.batch_norm(x, module.running_mean, module.running_var, weight, bias, eps=module.eps)
    check_batch_values(x)
    if _torch_loses_the_mean(x):
        with torch.no_grad():
            mean, var = batch_moments(x)
            move(module, mean, var, x.numel() // x.shape[1])
            moments = Moments(mean, var, torch.rsqrt(var + module.eps))
        return normalize(x, weight, bias, moments, module.eps)
    if is_compiled():
        return _compiled(module, x, weight, bias)
    moved = _moved(module)
    return F.batch_norm(x, *moved, weight, bias, training=True, momentum=_share(module), eps=module.eps)


def _compiled(module: _NormBase, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Let torch's kernel move copies of the buffers, which those then take over unless this runs in a recomputation."""
    mean, var = module.running_mean, module.running_var
    moved = None if mean is None else mean.clone(), None if var is None else var.clone()
    _count_batch(module)
    y = F.batch_norm(x, *moved, weight, bias, training=True, momentum=_share(module), eps=module.eps)
    for buffer, value in zip((mean, var), moved, strict=True):
        if buffer is not None and value is not None:
            move_once(buffer, value)
    return y


def move(module: _NormBase, mean: Tensor, var: Tensor, count: int | Tensor) -> None:
    """Move the running statistics of a module towards the mean and biased variance [C] of ``count`` values.

    To be called without gradients. A checkpoint's recomputation moves nothing.
    """
    if is_recomputing():
        return
    _count_batch(module)
    for buffer, value in ((module.running_mean, mean), (module.running_var, var * (count / (count - 1)))):
        if buffer is None:
            continue
        if is_compiled():
            move_once(buffer, value, _share(module))
        else:  # the same, without asking again
            buffer.lerp_(value, _share(module))


@torch.no_grad()
def set_population(module: _NormBase, mean: Tensor, var: Tensor, count: int) -> None:
    """Write population statistics into the running ones; the variance as the unbiased one."""
    module.running_mean.copy_(mean)  # type: ignore[union-attr]  # a layer of ours has them
    module.running_var.copy_(var * (count / (count - 1)))  # type: ignore[union-attr]


def _torch_loses_the_mean(x: Tensor) -> bool:
    """Tell whether torch's kernel adds up a channel in float32: its CPU ones for all that is not contiguous."""
    if x.device.type != "cpu" or is_transformed() or x.dtype == torch.float64:
        return False
    return x.dim() > 2 and not x.is_contiguous()


def _moved(module: _NormBase) -> tuple[Tensor | None, Tensor | None]:
    """Give the buffers that torch's kernel is to move: copies in a recomputation."""
    mean, var = module.running_mean, module.running_var
    if mean is None or var is None:
        return None, None
    if is_recomputing():
        with unseen():
            return mean.clone(), var.clone()
    _count_batch(module)
    if is_transformed():
        return mean, var
    # `.data` shares the values and not the version: torch saves the buffers for a backward that does not read them, and
    # would refuse it once they were written
    return mean.data, var.data


def _share(module: _NormBase) -> float:
    """Give the weight of the new batch, after it was counted; without a momentum the average is cumulative."""
    if module.momentum is not None:
        return module.momentum
    return 1.0 / float(module.num_batches_tracked)  # type: ignore[arg-type]  # waits for the device, as torch's does


def _count_batch(module: _NormBase) -> None:
    if module.num_batches_tracked is None:
        return
    if is_compiled():
        move_once(module.num_batches_tracked, module.num_batches_tracked + 1)
    else:
        module.num_batches_tracked.add_(1)
