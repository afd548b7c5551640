"""Group norm of channels_last tensors on CPUs, where torch's kernel is unstable, and slow where groups are narrow.

It takes E[x²] − E[x]², so its statistics are used only where the mean is small, and its backward loops over the single
channels of a group, so it is called only where groups are wide. Otherwise batch norm's kernels, called on one sample,
give the sums per channel, and groups are merged from channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from normzoo.kernels.forms import NARROW, as_rows, canonical, channels_innermost, like_input
from normzoo.kernels.moments import NO_EPS, images, row_moments
from normzoo.kernels.parts import SMALL, Scratch, parts, scale_and_shift

WIDE = 64  # channels per group from which torch's own kernel is the faster one
FEW, WIDE_ENOUGH = 2**16, 8  # float32 values per sample up to which it is from fewer channels on
NEAR = 4.0  # standard deviations from zero to the mean, up to which E[x²] − E[x]² loses too little to matter


def takes(x: Tensor) -> bool:
    """Tell whether x [N, C, *space] is in channels_last on a CPU."""
    return x.device.type == "cpu" and x.dim() > 2 and x.numel() > 0 and channels_innermost(x)


def forward(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Give the normalized x [N, C, *space], and mean and 1/√(var + eps) of every sample's groups [N, groups]."""
    if _suits_torch(x, groups):
        y, mean, scale = torch.native_group_norm(x, weight, bias, *_sizes(x), groups, eps)
        if _is_near(mean, scale):
            return like_input(y, x), mean, scale
    means, variances = row_moments(as_rows(x))  # [N, C]
    mean = _over_groups(means, groups)
    var = _over_groups(variances + (means - _per_channel(mean, x)).square(), groups)
    scale = torch.rsqrt(var + eps)
    slope = _per_channel(scale, x) * weight
    y = torch.empty_like(x)
    _affine(as_rows(x), slope, bias - _per_channel(mean, x) * slope, as_rows(y))
    return y, mean, scale


def backward(
    gradient: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, groups: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of x, weight and bias; the gradient has the memory layout of x."""
    if _suits_torch(x, groups) and _is_near(mean, scale):
        backward, every = torch.ops.aten.native_group_norm_backward.default, [True, True, True]
        return backward(gradient, x, mean, scale, weight, *_sizes(x), groups, every)  # type: ignore[no-any-return]
    m, s = _per_channel(mean, x), _per_channel(scale, x)  # [N, C]
    along, total = _sums(as_rows(gradient), as_rows(x), m, s)
    ahead, slope = (_per_channel(_over_groups(weight * one, groups) / as_rows(x).shape[1], x) for one in (total, along))
    slope = -slope * s * s
    of_x = torch.empty_like(x)
    _combine(as_rows(gradient), s * weight, as_rows(x), slope, -s * ahead - slope * m, as_rows(of_x))
    return of_x, along.sum(0), total.sum(0)


def _sums(g: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Give Σ g·x̂ and Σ g over the rows of every sample, [N, C] each; g and x are [N, S, C]."""
    if x.shape[1] * x.shape[2] <= SMALL:
        return _small_sums(g, x, mean, scale)
    each = zip(images(g), images(x), mean.unbind(), scale.unbind(), strict=True)
    backward, wanted = torch.ops.aten.native_batch_norm_backward.default, [False, True, True]
    found = [backward(g, x, None, None, None, m, s, True, NO_EPS, wanted)[1:] for g, x, m, s in each]
    along, total = (torch.stack(one) for one in zip(*found, strict=True))
    return along, total


def _small_sums(g: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    along, total = torch.empty(2, *mean.shape, dtype=mean.dtype)
    scratch = Scratch(2, x.shape[2], mean.dtype)
    for some, _ in parts(x.shape[0], x.shape[2], x.shape[1]):
        wide = scratch.wide(0, g[some])
        torch.sum(wide, 1, out=total[some])
        centred = torch.sub(x[some], mean[some, None], out=scratch(1, wide))
        torch.sum(centred.mul_(wide), 1, out=along[some])
    return along.mul_(scale), total


def _affine(x: Tensor, slope: Tensor, shift: Tensor, into: Tensor) -> None:
    """Write x·slope + shift; x and into are [N, S, C], slope and shift [N, C]."""
    if x.dtype not in NARROW:
        torch.addcmul(shift[:, None], x, slope[:, None], out=into)
        return
    if x.shape[1] * x.shape[2] <= SMALL:
        into.copy_(torch.addcmul(shift[:, None], x, slope[:, None]))  # in the type of the slope
        return
    zero, one = torch.zeros_like(slope[0]), torch.ones_like(slope[0])
    for part, a, b, y in zip(images(x), slope.unbind(), shift.unbind(), images(into), strict=True):
        # batch norm's kernel rounds once, and takes slopes that are not narrow
        y.copy_(torch.native_batch_norm(part, a, b, zero, one, False, 0.0, NO_EPS)[0])


def _combine(g: Tensor, of_g: Tensor, x: Tensor, of_x: Tensor, shift: Tensor, into: Tensor) -> None:
    """Write g·of_g + x·of_x + shift; tensors [N, S, C], coefficients [N, C]."""
    scratch = Scratch(2, x.shape[2], shift.dtype)
    for some, there in parts(len(x), x.shape[2], x.shape[1]):
        g_part, x_part, part = (one[some, there] for one in (g, x, into))
        a, b, c = (one[some, None] for one in (of_g, of_x, shift))
        base = torch.addcmul(c, scratch.wide(1, x_part), b, out=scratch(0, part))
        scale_and_shift(part, base, scratch.wide(1, g_part), a, base)


def _suits_torch(x: Tensor, groups: int) -> bool:
    width = x.shape[1] // groups
    if x.dim() != 4 or canonical(x) is not x:  # of other channels_last tensors it knows nothing
        return False
    return width >= WIDE or (width >= WIDE_ENOUGH and x.dtype == torch.float32 and x[0].numel() <= FEW)


def _is_near(mean: Tensor, scale: Tensor) -> bool:
    return bool((mean * scale).abs().max() < NEAR)


def _sizes(x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], x.shape[1], x[0, 0].numel()


def _over_groups(per_channel: Tensor, groups: int) -> Tensor:
    """Average [N, C] over the channels of each group: [N, groups]."""
    return per_channel.view(len(per_channel), groups, -1).mean(2)


def _per_channel(per_group: Tensor, x: Tensor) -> Tensor:
    """Repeat [N, groups] for every channel: [N, C]."""
    return per_group.repeat_interleave(x.shape[1] // per_group.shape[1], dim=1)
