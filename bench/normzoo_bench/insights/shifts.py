"""How far a layer's gradient and the moments of its input have moved: what ``covariate_shift`` computes with."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from normzoo_bench.insights.layers import Layer
from normzoo_bench.insights.watched import Held, exactly

Moments = list[tuple[Tensor, Tensor]]
"""Of each layer's input: mean and standard deviation of every channel, [C] each, in float64."""


def gradient_shift(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """Hold a layer's gradient against that after the earlier layers' steps.

    Returns:
        [3], in float64: ‖G − G'‖, that over ‖G‖, and the cosine between them; the last two are NaN where a gradient is
        0.

    """
    one, other = (torch.cat([part.flatten() for part in parts]).double() for parts in (before, after))
    length = torch.linalg.vector_norm(one - other)
    first, second = torch.linalg.vector_norm(one), torch.linalg.vector_norm(other)
    cosine = torch.where((first > 0) & (second > 0), one @ other / (first * second), torch.nan)
    return torch.stack([length, torch.where(first > 0, length / first, torch.nan), cosine])


def input_shift(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Tensor:
    """Hold the moments of a layer's input, means and deviations [C], against later ones.

    Returns:
        [3], in float64, root mean squares over channels in units of the layer's root mean square deviation before: of
        the change of mean and deviation together (the 2-Wasserstein distance of normal distributions), of the mean,
        and of the deviation; NaN where the input never varied.

    """
    unit = before[1].square().mean()
    mean, deviation = ((new - old).square().mean() for old, new in zip(before, after, strict=True))
    shifts = torch.stack([mean + deviation, mean, deviation])
    return torch.where(unit > 0, shifts / unit, torch.nan).sqrt()


def shifts(held: Held, stepped: nn.Module, layers: Sequence[Layer]) -> Tensor:
    """Give how the gradient of each layer changes when the layers before it take their step, [layers, 3].

    ``held`` is the net before the step, ``stepped`` after it; see ``gradient_shift``.
    """
    names = [name for name, one in held.model.named_parameters() if one.requires_grad]
    old, new = held.weights, [one.detach() for one in stepped.parameters() if one.requires_grad]
    gradient = held.at(old)[1]
    found = []
    for layer in layers:
        mixed = [b if name in layer.earlier else a for name, a, b in zip(names, old, new, strict=True)]
        both = [dict(zip(names, parts, strict=True)) for parts in (gradient, held.at(mixed)[1])]
        found.append(gradient_shift(*([parts[name] for name in layer.own] for parts in both)))
    return torch.stack(found).cpu()


def moments(model: nn.Module, names: Sequence[str], batches: Sequence[Tensor], seed: int) -> Moments:
    """Give the moments of what enters these modules over batches, each normalized as in training, by itself.

    Every batch [N, C, H, W] finds the model, which is in training mode, as it is: no running statistics move.
    """
    sums = {name: torch.zeros((), dtype=torch.float64, device=batches[0].device) for name in names}
    for images in batches:
        own = copy.deepcopy(model)
        for name in names:
            module = own.get_submodule(name)

            def note(module: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                values = inputs[0].double()
                values = values.movedim(-1, 0) if isinstance(module, nn.Linear) else values.movedim(1, 0)
                values = values.reshape(len(values), -1)
                one = torch.ones_like(values[:, 0])
                sums[name] = sums[name] + torch.stack([one * values.shape[1], values.sum(1), values.square().sum(1)])

            module.register_forward_pre_hook(note)
        with exactly(images.device, seed), torch.no_grad():
            own(images)
    return [_moments(sums[name]) for name in names]


def _moments(sums: Tensor) -> tuple[Tensor, Tensor]:
    count, first, second = sums.cpu()
    mean = first / count
    return mean, (second / count - mean.square()).clamp(min=0).sqrt()
