"""Folding norms into the convolutions before them, as deployments do: with kept statistics a norm is affine.

What follows a convolution or linear layer and scales each channel by a constant can be done by that layer's weights:
y = a·(W x + b) + c = (a·W) x + (a·b + c).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def fold(model: nn.Module, norms: type[nn.Module], forward: Callable[[], object]) -> tuple[int, int]:
    """Fold, in place, every norm that is fed by a convolution or linear layer alone; the model is in eval mode.

    Args:
        model: what is changed; a folded norm becomes ``nn.Identity``.
        norms: the class of its norms.
        forward: calls the model once, so that it is seen which layer feeds which norm.

    Returns:
        How many norms were folded, and how many there are. That nothing but its norm has seen a layer's output is not
        known: hold the folded model against the one before.

    """
    feeders = _feeders(model, norms, forward)
    for name, layer in feeders.items():
        norm = model.get_submodule(name)
        _absorb(layer, *affine(norm, _channels(layer)))
        _replace(model, name, nn.Identity())
    return len(feeders), sum(isinstance(module, norms) for module in model.modules()) + len(feeders)


def affine(norm: nn.Module, channels: int) -> tuple[Tensor, Tensor]:
    """Give scale and shift [C], float64, of a norm that in eval mode does the same to every value of a channel.

    Raises:
        ValueError: when it does not: it computes statistics in inference, too.

    """
    exact = copy.deepcopy(norm).double()
    device = next((parameter.device for parameter in norm.parameters()), None)
    draw = torch.Generator().manual_seed(0)
    one, other = (torch.randn(2, channels, 2, 2, generator=draw, dtype=torch.float64).to(device) for _ in range(2))
    one[0, :, 0, 1] = one[0, :, 0, 0] + 1
    with torch.no_grad():
        y, z = exact(one), exact(other)
    scale = y[0, :, 0, 1] - y[0, :, 0, 0]
    shift = y[0, :, 0, 0] - scale * one[0, :, 0, 0]
    # in another batch, where other values stand beside, it must do the same
    if not torch.allclose(z, scale.view(-1, 1, 1) * other + shift.view(-1, 1, 1), rtol=1e-6, atol=1e-9):
        raise ValueError(f"{type(norm).__name__} computes statistics in inference, and cannot be folded")
    return scale, shift


def _feeders(model: nn.Module, norms: type[nn.Module], forward: Callable[[], object]) -> dict[str, Layer]:
    """Find, by each norm's name, the layer whose very output it was called with; a layer called twice feeds none."""
    made: dict[int, tuple[Layer, Tensor]] = {}  # with the tensor itself, so that its id stays its own
    calls: dict[Layer, int] = {}
    found: dict[str, Layer] = {}

    def keep(layer: Layer, _args: tuple[Tensor, ...], y: Tensor) -> None:
        made[id(y)] = layer, y
        calls[layer] = calls.get(layer, 0) + 1

    def look(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def seen(_norm: nn.Module, args: tuple[Tensor, ...]) -> None:
            if id(args[0]) in made:
                found[name] = made[id(args[0])][0]

        return seen

    hooks = [one.register_forward_hook(keep) for one in model.modules() if isinstance(one, _LAYERS)]
    hooks += [
        one.register_forward_pre_hook(look(name)) for name, one in model.named_modules() if isinstance(one, norms)
    ]
    try:
        forward()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: layer for name, layer in found.items() if calls[layer] == 1}


def _channels(layer: Layer) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _absorb(layer: Layer, scale: Tensor, shift: Tensor) -> None:
    with torch.no_grad():
        weight = layer.weight.double() * scale.view(-1, *[1] * (layer.weight.dim() - 1))
        bias = (0 if layer.bias is None else layer.bias.double() * scale) + shift
        layer.weight.copy_(weight)
        layer.bias = nn.Parameter(bias.to(layer.weight))


def _replace(model: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, new)
