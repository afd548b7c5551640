"""The gate before every speed: a layer that is wrong has no speed worth publishing."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor, nn

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""By the input's type, the error that passes; a fraction of the largest value, or of 1 where all are smaller."""


LOGITS = {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 0.25}
"""By the precision of products, the error of a whole model's logits that passes, as a share of their length.

A deep net with statistics over few values multiplies rounding; a norm that is wrong gives about 1.
"""


GRADIENTS = {"float32": 1e-2, "tf32": 1e-1, "bfloat16": 0.5}
"""The same of the gradients of all weights together, of which a backward pass that leaves work out misses most."""


def logits_error(found: Tensor, wanted: Tensor) -> float:
    """Give the length of the error over that of what is wanted; inf where there is a nan."""
    error = float((found.double() - wanted).norm() / wanted.norm())
    return math.inf if math.isnan(error) else error


def require_logits(whose: str, error: float, precision: str, device: str) -> None:
    """Raise RuntimeError where a model's logits are too far off for its speed to be published."""
    _require_length("logits", LOGITS, whose, error, precision, device)


def require_gradients(whose: str, error: float, precision: str, device: str) -> None:
    """Raise RuntimeError where the gradients of a model's weights are too far off for its speed to be published."""
    _require_length("gradients", GRADIENTS, whose, error, precision, device)


def _require_length(
    what: str, allowed: dict[str, float], whose: str, error: float, precision: str, device: str
) -> None:
    tf32 = device == "cuda" and precision == "float32" and torch.backends.cudnn.allow_tf32
    most = allowed["tf32" if tf32 else precision]
    if not error <= most:
        raise RuntimeError(
            f"the {what} of {whose} are off by {error:.2g} of their length against float64, more than {most:g}"
        )


def error_vs_float64(layer: nn.Module, x: Tensor, backward: bool) -> float:
    """Give the largest error of a layer's output, and of its gradients, against its own float64 copy.

    Weight and bias are drawn at random and the input's mean is moved, so that nothing is right by chance. The layer
    itself is left as it was: copies are called. What is wrong in float64 too is the contract kit's to find.
    """
    single = drawn(copy.deepcopy(layer))
    exact = copy.deepcopy(single).double()
    given = moved(x.detach()).requires_grad_(backward)
    doubled = given.detach().double().requires_grad_(backward)
    gradient = incoming(given)
    found, wanted = (_results(one, own, gradient, backward) for one, own in ((single, given), (exact, doubled)))
    return largest_error(found, wanted)


def require(name: str, error: float, dtype: torch.dtype) -> float:
    """Give an error back, or raise RuntimeError where it is too large for a speed to be published."""
    if not error <= TOLERANCE[dtype]:
        raise RuntimeError(
            f"the results of {name} are off by {error:.2g} against float64, more than {TOLERANCE[dtype]:g}"
        )
    return error


_PASSED: set[Hashable] = set()


def once_passed(what: Hashable, error: Callable[[], float]) -> None:
    """Hold something against float64 where it has not passed in this process before.

    Every candidate is held; that what all are compared with is right under the same settings is known after once.
    """
    if what not in _PASSED:
        error()
        _PASSED.add(what)


def renew(whose: str, x: Tensor, kept: Tensor) -> None:
    """Put other values into an input, of which ``kept`` are the ones that it should have had all the time.

    Raises:
        RuntimeError: when it has others: what was timed works on its input.

    """
    if not torch.equal(x, kept):
        raise RuntimeError(f"{whose} changes its input, which other layers of a model read")
    with torch.no_grad():
        x.copy_(kept.flip(0) * 0.8 - 0.3)


def moved(x: Tensor) -> Tensor:
    """Give noise a mean and a scale that are not 0 and 1."""
    return x * 1.5 + 0.5


def incoming(x: Tensor) -> Tensor:
    """Draw the gradient that comes in, like x in shape, dtype and layout.

    Of mere noise, what flows back through the statistics is about nothing, and could as well be left out.
    """
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x.device)
    # like the input in layout, too: a gradient in another layout takes another path
    return torch.empty_like(x, requires_grad=False).copy_(noise + 0.5 * x.detach() + 1)


def drawn(layer: nn.Module) -> nn.Module:
    """Move a layer's parameters by noise, in place."""
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=draw).to(parameter))
    return layer


def largest_error(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Give the largest error, each as a fraction of its tensor's largest value, or of 1; nan where there is one."""
    if len(found) != len(wanted) or not all(isinstance(one, Tensor) for one in found):
        raise RuntimeError(
            f"a step gives {len(found)} tensor(s) and in float64 {len(wanted)}, of output and gradients together"
        )
    errors = [_relative(one, other) for one, other in zip(found, wanted, strict=True) if one.numel()]
    return float(torch.stack(errors).max()) if errors else 0.0  # not Python's max, which can lose a nan


def _results(layer: nn.Module, x: Tensor, gradient: Tensor, backward: bool) -> list[Tensor]:
    if not backward:
        with torch.no_grad():
            return [layer(x)]
    y = layer(x)
    gradients = torch.autograd.grad(y, [x, *layer.parameters()], gradient.to(y), allow_unused=True)
    return [y, *(one for one in gradients if one is not None)]


def _relative(found: Tensor, wanted: Tensor) -> Tensor:
    difference = (found.detach().double() - wanted.detach()).abs().max()
    return difference / wanted.detach().abs().max().clamp(min=1)
