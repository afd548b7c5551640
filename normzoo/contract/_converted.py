"""In a model: put there by ``convert``, it leaves activations and gradients in the memory layout of the model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from normzoo.contract._options import asked
from normzoo.contract._probe import CHANNELS, draw, require
from normzoo.convert import convert
from normzoo.registry import Card

SPACE = (6, 5)  # no size of 1: there the layouts are the same
LAYOUTS = (torch.channels_last, torch.contiguous_format)


def check_convert_keeps_the_memory_layout(card: Card) -> None:
    """Converted to it, a model keeps its memory layout, contiguous or channels_last, from input to first gradient."""
    normalizer, options = asked(card)
    for layout in LAYOUTS:
        net = _net().to(memory_format=layout)
        strides = {name: weight.stride() for name, weight in net.named_parameters()}
        convert(net, normalizer, **options)
        after = {name: weight.stride() for name, weight in net.named_parameters()}
        wrong = [name for name, stride in after.items() if strides.get(name, stride) != stride]
        require(not wrong, f"conversion changes the strides of {', '.join(wrong)} in a {_short(layout)} net")
        wrong = _strays(net, draw(space=SPACE, dtype=torch.float32)[:, :3], layout)
        require(
            not wrong,
            f"in a {_short(layout)} net, of another layout are {', '.join(wrong)}; every later layer then copies: "
            "give output and gradient the layout of the input",
        )


def _net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):  # layers draw their start
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS), nn.Conv2d(CHANNELS, 4, 3, padding=1)
        )


def _strays(net: nn.Sequential, x: Tensor, layout: torch.memory_format) -> list[str]:
    """Train one step; name the activations and gradients that have another layout."""
    found: list[str] = []

    def watch(name: str) -> Callable[[Tensor], None]:
        def note(tensor: Tensor) -> None:
            if not tensor.is_contiguous(memory_format=layout):
                found.append(name)

        return note

    x = x.contiguous(memory_format=layout)
    for number, (name, layer) in enumerate(net.named_children()):
        kind = f"layer {name} ({type(layer).__name__})"
        x = layer(x)
        watch(f"the output of {kind}")(x)
        if number < len(net) - 1:
            x.register_hook(watch(f"the gradient of the output of {kind}"))
    x.sum().backward()
    return found


def _short(name: object) -> str:
    return str(name).removeprefix("torch.")
