"""What a pass over the data changes for a while, and puts back: modes, buffers, torch's random state."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Collection, Iterable, Iterator

import torch
from torch import nn


@contextlib.contextmanager
def modes(model: nn.Module, chosen: Collection[nn.Module]) -> Iterator[None]:
    """Put the chosen modules into training mode and all others into eval; afterwards, as they were.

    The flags alone: ``train()`` would reach the dropout inside a normalizer, and may do more in a model of one's own.
    """
    before = [(module, module.training) for module in model.modules()]
    ids = {id(module) for module in chosen}
    try:
        for module, _ in before:
            module.training = id(module) in ids
        yield
    finally:
        for module, training in before:
            module.training = training


@contextlib.contextmanager
def uncorrected(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Let batch renorm normalize by the batch alone for a while: r = 1, d = 0.

    It corrects towards the running statistics that are about to be replaced: what layers behind it saw then would not
    be what they see afterwards.
    """
    corrected = [layer for layer in layers if hasattr(layer, "r_max") and hasattr(layer, "d_max")]
    before = [(layer.r_max, layer.d_max) for layer in corrected]
    try:
        for layer in corrected:
            vars(layer).update(r_max=1.0, d_max=0.0)
        yield
    finally:
        for layer, (r_max, d_max) in zip(corrected, before, strict=True):
            vars(layer).update(r_max=r_max, d_max=d_max)


@contextlib.contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Keep torch's random state, and let nothing run compiled: compiled code does not see new hooks."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    devices = sorted({tensor.get_device() for tensor in tensors if tensor.is_cuda})
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices))
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and importing it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


class Snapshot:
    """The buffers of modules as they are now."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        unique = {id(part): part for module in modules for part in module.modules()}.values()
        self._saved = [
            (part, name, buffer, buffer.clone())
            for part in unique
            for name, buffer in part.named_buffers(recurse=False)
        ]

    def put_back(self) -> None:
        """Set them to what they were; the tensors are those of then, whatever replaced them."""
        for module, name, buffer, value in self._saved:
            setattr(module, name, buffer.copy_(value))


@contextlib.contextmanager
def put_back_on_error(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put the buffers of modules back when anything is raised."""
    before = Snapshot(modules)
    try:
        yield
    except BaseException:
        before.put_back()
        raise
