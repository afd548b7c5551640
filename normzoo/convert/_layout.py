"""What surrounds a normalizer in a model: the layout of its input, and what was fused behind it.

These are forward hooks, not a wrapper: so the layer in the model *is* the normalizer, parameters keep their names, and
whoever looks at its ``forward`` (virtual ranks, recalibration) sees [N, C, *space] and nothing of the surroundings.
"""

from __future__ import annotations

import itertools
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

FUSED = ("drop", "act")
"""Submodules of timm's norm-act layers, in the order in which they run behind the norm."""


class Layout(Enum):
    """Where a layer has its channels, and the memory it writes."""

    FIRST = "[N, C, *space], written as it came"
    LAST = "[N, *space, C], written contiguously"
    FIRST_WRITTEN_LAST = "[N, C, H, W], written channels_last"


def surround(layer: nn.Module, layout: Layout, fused: dict[str, nn.Module]) -> None:
    """Let a normalizer serve a place with this layout, and run what was fused (a part of ``FUSED``) behind it."""
    if layout is Layout.LAST:
        layer.register_forward_pre_hook(_show_channels_first)
        layer.register_forward_hook(_give_channels_last)
    if layout is Layout.FIRST_WRITTEN_LAST:
        layer.register_forward_pre_hook(_write_channels_last)
    for name, module in fused.items():
        layer.add_module(name, module)
    if fused:
        layer.register_forward_hook(_run_fused)


def move_surroundings(layer: nn.Module, wrapper: nn.Module) -> None:
    """Move what surrounds a converted normalizer to a module that wraps it, which then sees [N, C, *space] too."""
    layout, fused = layout_of(layer), fused_behind(layer) if runs_fused(layer) else {}
    for hooks in (layer._forward_pre_hooks, layer._forward_hooks):
        for key in [key for key, hook in hooks.items() if hook in _HOOKS]:
            del hooks[key]
    for name in fused:
        delattr(layer, name)
    surround(wrapper, layout, fused)


def layout_of(layer: nn.Module) -> Layout:
    """Read back the layout of a normalizer that was converted."""
    hooks = hooks_of(layer)
    if _show_channels_first in hooks:
        return Layout.LAST
    return Layout.FIRST_WRITTEN_LAST if _write_channels_last in hooks else Layout.FIRST


def fused_behind(layer: nn.Module) -> dict[str, nn.Module]:
    """Give the drop and the activation that a layer runs behind its norm."""
    return {name: module for name, module in layer.named_children() if name in FUSED}


def runs_fused(layer: nn.Module) -> bool:
    """Tell whether a normalizer got its drop and activation from here."""
    return _run_fused in hooks_of(layer)


def foreign_hooks(layer: nn.Module) -> int:
    """Count the hooks on a layer that are not from here."""
    return sum(hook not in _HOOKS for hook in hooks_of(layer))


def hooks_of(layer: nn.Module) -> list[Any]:
    """Give every forward and backward hook of a layer, as torch keeps them; it has no public list."""
    kinds = (layer._forward_pre_hooks, layer._forward_hooks, layer._backward_pre_hooks, layer._backward_hooks)
    return list(itertools.chain.from_iterable(kind.values() for kind in kinds))


def _show_channels_first(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0].movedim(-1, 1),)  # [N, *space, C] → [N, C, *space], a view


def _give_channels_last(module: nn.Module, args: tuple[Tensor], y: Tensor) -> Tensor:
    # contiguous, as torch's layer norm writes it: models go on with `.view`
    return y.movedim(1, -1).contiguous()


def _write_channels_last(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    # layers that permute, normalize and permute back leave channels_last behind, and what follows runs in that layout
    return (args[0].contiguous(memory_format=torch.channels_last),)


def _run_fused(module: nn.Module, args: tuple[Tensor], y: Tensor) -> Tensor:
    for name in FUSED:
        fused = getattr(module, name, None)
        y = y if fused is None else fused(y)
    return y


_HOOKS = (_show_channels_first, _give_channels_last, _write_channels_last, _run_fused)
