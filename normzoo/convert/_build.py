"""Building the normalizer that takes a norm layer's place."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from normzoo.convert._layout import surround
from normzoo.convert._read import NormLayer, RefusedError
from normzoo.registry import NormalizerOptionError, card
from normzoo.registry import build as build_normalizer


def build(old: NormLayer, normalizer: str, options: Mapping[str, Any], like: Tensor | None) -> nn.Module:
    """Build what takes the place of ``old``, and leave ``old`` as it is.

    ``like`` gives device and dtype where the layer has no tensor of its own.

    Raises:
        RefusedError: when this normalizer cannot take this place.

    """
    if type(old.module) is card(normalizer).factory and not options:
        return old.module
    own = old.own.get(normalizer)
    if own is not None:
        _check_can_stay(old, normalizer, {**own, **options})
    new = _create(old, normalizer, {**(own or {}), **options})
    taken = [name for name in old.fused if hasattr(new, name)]
    if taken:
        raise RefusedError(f"{normalizer} has a {taken[0]} of its own, so that the layer's cannot be kept")
    reference = _reference(old.module, like)
    if reference is not None:
        new.to(reference.device, reference.dtype)
    if own is None:
        _start_like(new, old.module)
    else:
        _keep_state(new, old.module, reference)
    _keep_constants(new, old.module)
    surround(new, old.layout, old.fused)
    return new.train(old.module.training)


def _check_can_stay(old: NormLayer, normalizer: str, options: Mapping[str, Any]) -> None:
    """Refuse to rebuild a model's own norm where that would change it unseen."""
    unread = [name for name in card(normalizer).options if name not in options]
    if unread and type(old.module) is card(normalizer).factory:
        raise RefusedError(f"it does not tell its {unread[0]} (an attribute of that name); give {unread[0]}= too")
    inner = {name for name, _ in old.module.named_children()} - {*old.fused}
    if inner:
        raise RefusedError(f"it holds {', '.join(sorted(inner))}, so it cannot be built again with other options")
    if options.get("momentum", 0) is None:
        raise RefusedError(f"its momentum is None (a cumulative average), which {normalizer} has not; give momentum=")
    if card(normalizer).running_stats and getattr(old.module, "running_mean", None) is None:
        raise RefusedError(f"it keeps no running statistics and {normalizer} does, so it cannot stay what it is")


def _create(old: NormLayer, normalizer: str, options: Mapping[str, Any]) -> nn.Module:
    try:
        return build_normalizer(normalizer, old.num_features, options)
    except NormalizerOptionError as error:
        raise RefusedError(str(error)) from error


def _reference(module: nn.Module, like: Tensor | None) -> Tensor | None:
    """Give a tensor with the layer's device and dtype."""
    state = itertools.chain(module.parameters(recurse=False), module.buffers(recurse=False))
    return next((tensor for tensor in state if tensor.is_floating_point()), like)


def _start_like(new: nn.Module, old: nn.Module) -> None:
    """Keep what of a fresh normalizer is the place's: a start at zero, what is trained, marks on parameters."""
    before = dict(old.named_parameters(recurse=False))
    trained = any(parameter.requires_grad for parameter in before.values())
    for name, parameter in new.named_parameters():
        parameter.requires_grad_(before[name].requires_grad if name in before else trained)
        if name in before:
            vars(parameter).update(vars(before[name]))  # such as _no_weight_decay
    weight, new_weight = getattr(old, "weight", None), getattr(new, "weight", None)
    if weight is not None and not weight.any():
        if not isinstance(new_weight, nn.Parameter):
            raise RefusedError(f"its weight starts at zero, and {type(new).__name__} has no weight")
        nn.init.zeros_(new_weight)


def _keep_state(new: nn.Module, old: nn.Module, reference: Tensor | None) -> None:
    """Take over parameters (the very same, so that optimizers hold on to them) and buffers."""
    for name, tensor in itertools.chain(old.named_parameters(recurse=False), old.named_buffers(recurse=False)):
        if isinstance(getattr(new, name, None), nn.Parameter) == isinstance(tensor, nn.Parameter):
            setattr(new, name, tensor if isinstance(tensor, nn.Parameter) else tensor.clone())
    if reference is not None:
        new.to(reference.device)  # a move widens running statistics, where the old layer kept them narrow


def _keep_constants(new: nn.Module, old: nn.Module) -> None:
    """Make a weight or bias that the old layer lacked the constant 1 or 0: neither trained nor saved."""
    for name in ("weight", "bias"):
        constant = getattr(new, name, None)
        if isinstance(constant, nn.Parameter) and not isinstance(getattr(old, name, None), nn.Parameter):
            delattr(new, name)
            new.register_buffer(name, constant.detach().requires_grad_(False), persistent=False)
