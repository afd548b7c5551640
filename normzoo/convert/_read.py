"""Reading a model: which of its modules are norm layers, and what each of them is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from normzoo.convert._known import KNOWN, Kind, definer, looks_like_norm, refusal
from normzoo.convert._layout import FUSED, Layout, foreign_hooks, fused_behind, layout_of, runs_fused
from normzoo.registry import Card, card, names


class RefusedError(ValueError):
    """One layer cannot be converted; the message is the reason, and whoever knows its name adds it."""


@dataclass(frozen=True)
class NormLayer:
    """A norm layer of a model.

    Attributes:
        module: the layer.
        num_features: C.
        layout: where it has its channels.
        fused: what runs behind the norm inside the layer, by name.
        own: the normalizers that compute what it computes, each with the options at which it does.

    """

    module: nn.Module
    num_features: int
    layout: Layout
    fused: dict[str, nn.Module]
    own: Mapping[str, Mapping[str, Any]]


def norm_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Give the name and module of every norm layer, and of every module that could hide one.

    A layer that stands at several places comes once for each. Nothing inside a norm layer is looked at.
    """
    inside: str | None = None
    for name, module in model.named_modules(remove_duplicate=False):
        if inside is not None and (inside == "" or name.startswith(f"{inside}.")):
            continue
        inside = name if _is_norm_layer(module) or isinstance(module, ParametrizationList) else None
        if inside is not None and not isinstance(module, ParametrizationList):
            yield name, module


def read(module: nn.Module) -> NormLayer:
    """Say what a norm layer is.

    Raises:
        RefusedError: when it cannot be converted.

    """
    reason = refusal(module)
    if reason is not None:
        raise RefusedError(reason)
    _check_state(module)
    ours = _card_of(module)
    if ours is not None:
        fused = fused_behind(module) if runs_fused(module) else {}
        return NormLayer(module, _channels(module), layout_of(module), fused, _own_of_ours(ours, module))
    if definer(module) not in KNOWN:
        raise RefusedError("it is not a norm layer that convert knows; replace it by a known one first")
    kind, layout = KNOWN[definer(module)]
    _check_only_weight_and_bias(module)
    return NormLayer(module, _channels(module), layout, fused_behind(module), _own(kind, module))


def _is_norm_layer(module: nn.Module) -> bool:
    known = _card_of(module) is not None or definer(module) in KNOWN
    return known or refusal(module) is not None or looks_like_norm(module)


def _card_of(module: nn.Module) -> Card | None:
    return next((found for found in map(card, names()) if type(module) is found.factory), None)


def _check_state(module: nn.Module) -> None:
    """Refuse a layer whose state cannot be read, or that other code holds on to."""
    state = [*module.parameters(), *module.buffers()]
    if any(is_lazy(tensor) or tensor.is_meta for tensor in state):
        raise RefusedError("its weights have no values yet; run a batch through it, or move it to a real device")
    hooks = foreign_hooks(module)
    if hooks:
        raise RefusedError(f"other code has put {hooks} hook(s) on it; remove them, convert, and put them back")


def _check_only_weight_and_bias(module: nn.Module) -> None:
    names = {name for name, _ in module.named_parameters(recurse=False)} - {"weight", "bias"}
    names |= {name for name, _ in module.named_children()} - {*FUSED}
    if names:
        raise RefusedError(f"it holds {', '.join(sorted(names))}, which a normalizer has no place for")


def _channels(module: nn.Module) -> int:
    """Give C, as the many kinds of norm layers spell it."""
    shape = getattr(module, "normalized_shape", None)
    if shape is not None and len(shape) > 1:
        raise RefusedError(f"it has a weight for each of {tuple(shape)} values, a normalizer has one per channel")
    weight = getattr(module, "weight", None)
    known = [getattr(module, "num_features", None), getattr(module, "num_channels", None), *(shape or ())]
    known += [] if weight is None else [len(weight)]
    channels = next((number for number in known if isinstance(number, int)), None)
    if channels is None:
        raise RefusedError("it does not say how many channels it has (num_features)")
    return channels


def _own(kind: Kind, module: nn.Module) -> dict[str, dict[str, Any]]:
    """Give the normalizers that compute the same, with their options.

    Batch norm and SyncBN are one computation at one rank, so each is the other's own: a model whose batch norm has
    another eps must not differ between the two where they are held to be equal.
    """
    if kind == "batch":
        options = {"eps": module.eps, "momentum": module.momentum}
        group = getattr(module, "process_group", None)
        return {"batch_norm": options, "sync_batch_norm": {**options, "process_group": group}}
    if kind == "group":
        groups = module.num_groups if isinstance(module, nn.GroupNorm) else module.groups
        one_group = {"layer_norm": {"eps": module.eps}} if groups == 1 else {}
        return {"group_norm": {"groups": groups, "eps": module.eps}, **one_group}
    return {"layer_norm_channels": {"eps": module.eps}} if kind == "channels" else {}


def _own_of_ours(found: Card, module: nn.Module) -> dict[str, dict[str, Any]]:
    kinds: dict[str, Kind] = {"batch_norm": "batch", "sync_batch_norm": "batch", "group_norm": "group"}
    options = {name: getattr(module, name) for name in found.options if hasattr(module, name)}
    return {**_own(kinds.get(found.name, "other"), module), found.name: options}
