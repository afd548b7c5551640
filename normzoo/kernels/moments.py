"""Batch statistics: the mean and biased variance of every channel, and how parts are merged.

torch's CPU kernels fail here in two ways. Contiguous float32 is summed value by value in double precision, several
times slower than memory; channels_last is added up row by row in float32, which loses the mean once the sum has left
the range of its summands (with mean 1000, standard deviation 1 and 128 × 56 × 56 rows its variance is off by a factor
of 7). Statistics of parts, by other kernels, merged, are faster and right.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from normzoo.kernels.choose import is_transformed
from normzoo.kernels.forms import NARROW, as_rows, channels_innermost, wide_dtype
from normzoo.kernels.parts import PIECE, SMALL, Scratch, parts

MOST_ROWS = 2**17  # added up in float32 at a time
FAR = 16.0  # standard deviations from zero to the mean, up to which the values dither what such a sum rounds away
LEAST_SPACE = 16  # positions per row from which a row-wise kernel is the faster one
NO_EPS = 1e-30  # for kernels that want an eps above 0; no variance is changed by it


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Give mean and biased variance [C] of x [N, C, *space] over batch and space, in float32 or wider.

    x has at least one value per channel. To be called without gradients.
    """
    if is_transformed() or x.device.type not in ("cpu", "cuda"):
        var, mean = torch.var_mean(x.to(wide_dtype(x)), [0, *range(2, x.dim())], correction=0)
        return mean, var
    if x.device.type == "cuda":
        return torch.batch_norm_update_stats(x, None, None, 0.0)  # Welford's, in either layout
    if channels_innermost(x):
        return _of_rows(x)
    if x.dtype not in NARROW and x[0, 0].numel() >= LEAST_SPACE and x.is_contiguous():
        return _of_samples(x)
    return _checked(*_native(x), x)


def merge(means: Tensor, variances: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the moments of P parts (Chan et al. 1979); parts without values count as none.

    Shapes: means and biased variances [P, C], counts [P, 1]; the result is mean [C], biased variance [C] and count [].
    """
    total, base = counts.sum(), means[:1]
    mean = base + ((means - base) * counts).sum(0, keepdim=True) / total  # from a base: large means lose no digits
    var = ((variances + (means - mean).square()) * counts).sum(0) / total
    return mean[0], var, total


def _native(x: Tensor) -> tuple[Tensor, Tensor]:
    # without wide buffers narrow input has narrow statistics; with momentum 0 they stay what they are
    scratch = torch.ones(x.shape[1], dtype=wide_dtype(x))
    mean, var = torch.batch_norm_update_stats(x, scratch, scratch, 0.0)
    return mean, var


def _of_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Take moments of x whose channels are innermost in memory."""
    count = x.numel() // x.shape[1]
    if count <= MOST_ROWS and x.dim() > 2:
        return _checked(*_native(x), x)
    flat = as_rows(x).view(-1, x.shape[1])
    whole = count // MOST_ROWS * MOST_ROWS
    found = [row_moments(flat[:whole].view(-1, MOST_ROWS, x.shape[1]))] if whole else []
    found += [row_moments(flat[None, whole:])] if count > whole else []
    means, variances = (torch.cat(one) for one in zip(*found, strict=True))
    counts = means.new_full((len(means), 1), MOST_ROWS)
    counts[-1] = (count - 1) % MOST_ROWS + 1
    mean, var, _ = merge(means, variances, counts)
    return mean, var


def row_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Give mean and biased variance [P, C] of x [P, R, C] over R, channels being innermost in memory."""
    if x.shape[1] * x.shape[2] <= SMALL:
        return _of_small(x)
    means, variances = (torch.stack(one) for one in zip(*map(_native, images(x)), strict=True))
    return _checked(means, variances, x)


def _of_small(x: Tensor) -> tuple[Tensor, Tensor]:
    """Do the same for many small parts at once: a kernel's call for each would cost more than its work."""
    means, variances = torch.empty(2, x.shape[0], x.shape[2], dtype=wide_dtype(x))
    scratch = Scratch(2, x.shape[2], means.dtype)
    for some, _ in parts(x.shape[0], x.shape[2], x.shape[1]):
        values = scratch.wide(0, x[some])
        torch.mean(values, 1, out=means[some])
        centred = torch.sub(values, means[some, None], out=scratch(1, values))
        torch.mean(centred.mul_(centred), 1, out=variances[some])
    return means, variances


def images(x: Tensor) -> Sequence[Tensor]:
    """View x [P, R, C] as P images of one sample each, [1, C, R, 1], so that kernels run along the channels."""
    found: Sequence[Tensor] = x.transpose(1, 2)[..., None].split(1)
    return found


def _checked(means: Tensor, variances: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Give the moments, taken anew in float64 if their means are so far from 0 that float32 sums may be off."""
    if x.dtype == torch.float64 or not torch.addcmul(variances, means, means, value=-(FAR**-2)).lt(0).any():
        return means, variances
    if means.dim() == 1:
        return tuple(one.to(means.dtype) for one in _native(x.double()))  # type: ignore[return-value]  # two of them
    exact = zip(*(_native(image.double()) for image in images(x)), strict=True)
    return tuple(torch.stack(one).to(means.dtype) for one in exact)  # type: ignore[return-value]


def _of_samples(x: Tensor) -> tuple[Tensor, Tensor]:
    """Take moments of contiguous x [N, C, *space]: those of every sample's channel, by a row-wise Welford, merged."""
    samples, channels, space = x.shape[0], x.shape[1], x[0, 0].numel()
    means, scales = [], []
    for part in x.split(max(1, PIECE // (channels * space))):
        # group norm with one channel per group; its output stays in the cache and is dropped
        _, mean, scale = torch.native_group_norm(part, None, None, len(part), channels, space, channels, NO_EPS)
        means.append(mean)
        scales.append(scale)
    variances = torch.cat(scales).square().reciprocal()
    return _equal_parts(torch.cat(means).view(samples, channels), variances.view(samples, channels))


def _equal_parts(means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    mean = means[:1] + (means - means[:1]).mean(0, keepdim=True)
    return mean[0], (variances + (means - mean).square()).mean(0)
