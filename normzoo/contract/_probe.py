"""What the checks share: modules off their starting point, inputs from seeds of their own, and comparisons.

Nothing here touches torch's global random numbers: checking a normalizer must not change a run around it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from normzoo.registry import Card

CHANNELS = 64
"""Channels of every probe: the commonest default of 32 groups then still has 2 channels each."""

SAMPLES = 4

SPACES: tuple[tuple[int, ...], ...] = ((), (5,), (3, 2), (2, 3, 2))
"""The space axes that a normalizer has to take."""


class ContractError(AssertionError):
    """A normalizer does not keep to its contract."""


def require(holds: bool, message: str) -> None:
    """Raise a ``ContractError`` with this message unless the condition holds."""
    if not holds:
        raise ContractError(message)


def build(card: Card, dtype: torch.dtype = torch.float64, *, steps: int = 0) -> nn.Module:
    """Build a normalizer of ``CHANNELS`` channels in training mode, and train it for some steps.

    Its parameters are moved off their start: at weight 1 and bias 0 many mistakes cancel.
    """
    module = card.factory(CHANNELS).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator).to(parameter) - 0.5)
    for step in range(steps):
        module(draw(space=(3, 2), dtype=dtype, seed=100 + step, mean=0.5, std=1.5))
    return module


def draw(
    samples: int = SAMPLES,
    *,
    space: tuple[int, ...] = (3, 2),
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    mean: float = 0.0,
    std: float = 1.0,
) -> Tensor:
    """Draw a normal input [samples, CHANNELS, *space], the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(samples, CHANNELS, *space, generator=generator, dtype=torch.float64)
    return (mean + std * values).to(dtype)


def spaces(card: Card) -> list[tuple[int, ...]]:
    """Give the space axes at which a card can work: a statistic over space alone has one value without space axes."""
    only_space = card.pools - {"rank"} == {"space"}
    return [space for space in SPACES if space or not only_space]


def run(module: nn.Module, x: Tensor) -> Tensor:
    """Give a normalizer's output and leave the module as it was: a copy runs."""
    y = copy.deepcopy(module)(x)
    require(isinstance(y, Tensor), f"forward returned {type(y).__name__}, not a tensor")
    return y  # type: ignore[no-any-return]  # a module's call is untyped


def step(
    module: nn.Module, x: Tensor, loads: Tensor | None = None, call: Callable[[Tensor], Tensor] | None = None
) -> dict[str, Tensor]:
    """Run forward and backward on the module itself, or a call of it; give output and gradients by name.

    The loss is the sum of the outputs times their loads; a plain sum of normalized values would have no gradient.
    """
    loads = draw(x.shape[0], space=tuple(x.shape[2:]), seed=9) if loads is None else loads
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    module.zero_grad()
    y = (call or module)(x)
    (y * loads.to(y.dtype)).sum().backward()
    found = {"output": y.detach(), "gradient of x": x.grad}
    found |= {f"gradient of {name}": parameter.grad for name, parameter in module.named_parameters()}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def state(module: nn.Module) -> dict[str, Tensor]:
    """Copy all parameters and buffers, those outside the state_dict too."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in tensors}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Name the tensors that are not the same to the bit, or that only one side has."""
    shared = one.keys() & other.keys()
    return sorted((one.keys() ^ other.keys()) | {name for name in shared if not torch.equal(one[name], other[name])})


def distance(one: Tensor, other: Tensor) -> float:
    """Give the largest difference between two tensors of a shape; infinite where one is not finite."""
    if not one.numel():
        return 0.0
    gap = (one.double() - other.double()).abs().max().item()
    return gap if gap == gap else float("inf")
