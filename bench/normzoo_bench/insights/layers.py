"""The layers of a net in the order in which they are called, and what lies before each."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""What is a layer. All else that has weights, norms above all, lies before or after one."""


@dataclass(frozen=True)
class Layer:
    """A convolution or a linear layer.

    Attributes:
        name: of the module.
        own: its parameters, weight and bias.
        earlier: the parameters of whatever is called before it.

    """

    name: str
    own: tuple[str, ...]
    earlier: frozenset[str]


def layers_of(model: nn.Module, images: Tensor) -> list[Layer]:
    """Give the layers that a model in training mode calls, in the order of their first calls.

    A parameter is its module's, or where that is never called (an attention's output, whose weights are read by the
    attention) the nearest one's around it that is. The model is left as it was.
    """
    order = _called(copy.deepcopy(model), images)
    owners = {name: _owner(name, order) for name, one in model.named_parameters() if one.requires_grad}
    modules = dict(model.named_modules())
    return [
        Layer(
            name,
            tuple(one for one, owner in owners.items() if owner == name),
            frozenset(one for one, owner in owners.items() if order[owner] < place),
        )
        for name, place in order.items()
        if isinstance(modules[name], KINDS)
    ]


def _called(model: nn.Module, images: Tensor) -> dict[str, int]:
    """Give the places of modules in the order of their first calls."""
    order: dict[str, int] = {}

    def note(name: str, *_: object) -> None:
        order.setdefault(name, len(order))

    for name, module in model.named_modules():
        module.register_forward_pre_hook(functools.partial(note, name))
    with torch.random.fork_rng([torch.cuda.current_device()] if images.is_cuda else []), torch.no_grad():
        model(images)
    return order


def _owner(parameter: str, order: dict[str, int]) -> str:
    name = parameter.rpartition(".")[0]
    while name not in order:
        name = name.rpartition(".")[0]
    return name
