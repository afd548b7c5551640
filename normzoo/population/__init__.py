"""Population statistics: running statistics replaced by those of a whole data set, with the weights fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from normzoo import registry
from normzoo.population._layers import CannotRecalibrateError, keeps_statistics, write
from normzoo.population._pass import Pass
from normzoo.population._state import put_back_on_error

__all__ = ["CannotRecalibrateError", "recalibrate"]


def recalibrate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    in_turn: bool = False,
    call: Callable[[nn.Module, Any], Any] | None = None,
    process_group: dist.ProcessGroup | None = None,
) -> None:
    """Replace the running statistics of every normalizer by population statistics, those of all values of a data set.

    Also called precise batch norm (Wu & Johnson 2021, arXiv:2105.07576). Weights are fixed. Recomputed are layers with
    a method ``set_population(mean, var, count)`` (float64 on the CPU: mean [C] and biased variance [C] of ``count``
    values per channel) and torch's batch norms, also those in eval; Frozen* layers are constants and stay. A layer that
    runs several times merges all its calls, one that never runs keeps its statistics. A model without running
    statistics is left alone, its batches unread.

    ``in_turn=False`` takes one pass. Normalizers run in training mode, all else (dropout) in eval. What is measured is
    merged exactly, but what a deeper layer sees was normalized by batches upstream, so there the batch size matters,
    as it does in training; their order does not. Batch renorm (what has ``r_max`` and ``d_max``) is not corrected
    meanwhile: r = 1, d = 0. ``in_turn=True`` takes one pass per layer, in the order of their first
    calls, everything in eval: each is measured behind layers that have their population statistics already. The result
    is then that of the data, however it is cut, if the rest of the model treats each sample by itself.

    Data-parallel ranks merge what they saw, each with batches of its own, none too; afterwards all hold the same. But
    layers that talk in training (sync_batch_norm) want equally many batches on every rank, unless ``in_turn`` quiets
    them; so does DDP, always: give its ``module``. Where one rank fails, all raise.

    All else stays: modes, other buffers, hooks, torch's random state (every pass starts from it, so random augmentation
    repeats itself). When anything is raised, the statistics stay, too. Compiled layers run uncompiled here.

    Args:
        model: changed in place.
        batches: with ``in_turn`` they are iterated once per layer: a list or a DataLoader, no generator.
        in_turn: see above.
        call: runs the model on one batch; ``model(batch)``, or on the first element of a tuple or list, if not given.
        process_group: the ranks; the default group if there is one.

    Raises:
        CannotRecalibrateError: for a layer with running statistics of its own making and no ``set_population``, when
            there are no batches or one tensor is given for them, when they reach no layer or bring values that are not
            finite, or another rank failed.
        TooFewValuesError: when a layer saw a single value per channel.

    """
    layers = {name: layer for name, layer in model.named_modules() if keeps_statistics(name, layer)}
    if isinstance(batches, Tensor):
        got = f"one tensor of shape {tuple(batches.shape)}"
        raise CannotRecalibrateError(f"needs an iterable of batches, got {got}; give a list of it, or x.split(64)")
    if in_turn and isinstance(batches, Iterator):
        got = type(batches).__name__
        raise CannotRecalibrateError(f"in_turn iterates once per layer, got a {got}; give a list or a DataLoader")
    if not layers:
        return
    kinds = tuple(registry.card(name).factory for name in registry.names())
    known = {id(layer) for layer in layers.values()}
    normalizers = [module for module in model.modules() if id(module) in known or isinstance(module, kinds)]
    run = Pass(model, batches, call or _call_on_first, process_group, normalizers, training=not in_turn)
    with torch.no_grad(), put_back_on_error(normalizers):
        moments = run.measure(layers)
        for position, name in enumerate(list(moments)):
            if in_turn and position:  # the first of all already saw what it will
                moments |= run.measure({name: layers[name]})
            write(name, layers[name], moments[name])


def _call_on_first(model: nn.Module, batch: Any) -> Any:
    given = batch[0] if isinstance(batch, (tuple, list)) else batch
    try:
        return model(given)
    except Exception as error:
        if not isinstance(given, Tensor):  # some models take it; this one raised
            error.add_note(
                f"recalibrate ran the model on a {type(given).__name__}, as a batch has it; if that is not its input, "
                "give call=, as in call=lambda model, batch: model(batch['image'])"
            )
        raise
