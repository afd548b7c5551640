"""Converting a model: every norm layer replaced by a normalizer of the zoo, and nothing else changed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import nn

from normzoo.convert._build import build
from normzoo.convert._layout import move_surroundings
from normzoo.convert._read import RefusedError, norm_layers, read
from normzoo.registry import check_options

__all__ = ["CannotConvertError", "convert", "move_surroundings"]


class CannotConvertError(ValueError):
    """A model has no norm layer, or one that this normalizer cannot replace; the model is as it was."""


def convert(model: nn.Module, normalizer: str, /, **options: Any) -> nn.Module:
    """Replace every norm layer of a model, in place, and give the model back (or the new layer, if it is one itself).

    It is neutral in all else: activations fused into timm's layers stay, names and number of parameters stay, as do
    device, dtype, mode and what is trained; every other weight and the random state are to the bit what they were. A
    weight starts at 1, or at 0 where the old one was all zero; a bias at 0; eps and momentum are the normalizer's. A
    weight or bias that a layer lacked is a constant: neither trained nor saved.

    A model's own norm is kept instead: weights, buffers and settings (eps, momentum, groups), changed by ``options``
    only, with the same outputs in training and eval. That is ``batch_norm`` and ``sync_batch_norm`` for either of the
    two, ``group_norm`` for GroupNorm, ``layer_norm`` too where it has one group, and ``layer_norm_channels`` for
    torch's and timm's LayerNorm and LayerNorm2d. Layers over the last axis ([N, T, C], [N·T, C], [N, H, W, C]) are
    shown channels first, so that in token models ``layer_norm`` pools over tokens too.

    The same to the bit: float32 and float64 in contiguous memory, but for layer norm over the channels of images, which
    has a kernel of its own and differs by rounding. In channels_last batch and group norm do, too, where the zoo's are
    the more accurate; running statistics in a narrower type become float32.

    Raises:
        CannotConvertError: when the model has no norm layer or one that cannot be converted; it is then untouched.
        UnknownNormalizerError: for an unknown name.
        NormalizerOptionError: for an option that the normalizer does not have.

    """
    check_options(normalizer, options)
    places = list(norm_layers(model))
    if not places:
        raise CannotConvertError(f"{type(model).__name__} has no norm layer to convert")
    new = _plan(model, places, normalizer, options)
    if model in new:
        return new[model]
    for name, old in places:
        if new[old] is not old:
            model.set_submodule(name, new[old])
    return model


def _plan(
    model: nn.Module, places: list[tuple[str, nn.Module]], normalizer: str, options: dict[str, Any]
) -> dict[nn.Module, nn.Module]:
    """Build a normalizer for every norm layer, one for each however often it stands in the model."""
    like = next(model.parameters(), None)
    owners = Counter(id(weight) for module in model.modules() for weight in module.parameters(recurse=False))
    new: dict[nn.Module, nn.Module] = {}
    # built on the CPU, whatever the default device: its random state alone is put back
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        for name, old in places:
            try:
                if any(owners[id(weight)] > 1 for weight in old.parameters(recurse=False)):
                    raise RefusedError("it shares a weight with another layer")
                if old not in new:
                    new[old] = build(read(old), normalizer, options, like)
            except RefusedError as error:
                kind = f"{type(old).__module__}.{type(old).__qualname__}"
                raise CannotConvertError(
                    f"cannot convert {name or 'the model'} ({kind}) to {normalizer}: {error}"
                ) from error
    return new
