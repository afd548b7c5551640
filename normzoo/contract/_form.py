"""What comes out has the form of what went in, and what cannot be normalized is refused."""

from __future__ import annotations

import torch
from torch import Tensor

from normzoo.contract._probe import CHANNELS, ContractError, build, distance, draw, require, run, spaces, step
from normzoo.registry import Card

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def check_shape_is_kept(card: Card) -> None:
    """The output has the input's shape, with 0 to 3 space axes, in training and in eval."""
    for training in (True, False):
        module = build(card, steps=2).train(training)
        for space in spaces(card):
            x = draw(space=space)
            y = run(module, x)
            require(y.shape == x.shape, f"{_mode(training)} gives shape {tuple(y.shape)} for input {tuple(x.shape)}")


def check_dtype_is_kept(card: Card) -> None:
    """The output and the gradient have the input's dtype: float32, float64, bfloat16, and bfloat16 under autocast."""
    for training in (True, False):
        for dtype in DTYPES:
            found = step(build(card, dtype, steps=2).train(training), draw(dtype=dtype))
            for what in ("output", "gradient of x"):
                got = found[what].dtype
                require(got == dtype, f"{_mode(training)} gives {_short(got)} as {what} for {_short(dtype)} input")
        with torch.autocast("cpu", torch.bfloat16):
            got = run(build(card, torch.float32, steps=2).train(training), draw(dtype=torch.bfloat16)).dtype
        require(got == torch.bfloat16, f"{_mode(training)} under autocast gives {_short(got)} for bfloat16 input")


def check_memory_layout_is_kept(card: Card) -> None:
    """The output has the input's memory layout, contiguous or channels_last, and its values do not depend on it."""
    formats = (((3, 2), torch.channels_last), ((2, 3, 2), torch.channels_last_3d))
    for training in (True, False):
        module = build(card, torch.float32, steps=2).train(training)
        for space, memory_format in formats:
            x = draw(space=space, dtype=torch.float32)
            expected = run(module, x)
            _require_layout(expected, x, f"{_mode(training)} of contiguous input")
            last = x.contiguous(memory_format=memory_format)
            y = run(module, last)
            _require_layout(y, last, f"{_mode(training)} of {_short(memory_format)} input")
            strided = draw(space=(*space, 2), dtype=torch.float32)[..., 0].copy_(x)
            for name, got in ((_short(memory_format), y), ("strided", run(module, strided))):
                gap = distance(got, expected)
                require(gap < 1e-4, f"{_mode(training)}: {name} input changes the output by {gap:.1e}")


def check_constant_input_stays_finite(card: Card) -> None:
    """A constant input, whose variance is 0, gives finite outputs and gradients."""
    x = torch.full_like(draw(dtype=torch.float32), 3.0)
    for training in (True, False):
        for name, tensor in step(build(card, torch.float32, steps=2).train(training), x).items():
            finite = bool(tensor.isfinite().all())
            require(finite, f"{_mode(training)} of a constant input: {name} is not finite; add eps inside the root")


def check_single_value_is_refused(card: Card) -> None:
    """One value per statistic is refused in training with a ValueError: its variance says nothing."""
    pools = card.pools - {"rank"}
    samples = 1 if "batch" in pools else 3
    channels = 1 if pools & {"channel", "group"} else CHANNELS
    for space in ((), (1,), (1, 1)) if pools else ():
        x = draw(samples, space=space)[:, :channels]
        try:
            y = card.factory(channels).double()(x)
        except ValueError:
            continue
        nan = " (it gave NaN)" if bool(y.isnan().any()) else ""
        raise ContractError(
            f"training on shape {tuple(x.shape)} has one value per statistic and raised no ValueError{nan}; "
            "raise normzoo.TooFewValuesError"
        )


def check_smallest_batch_is_accepted(card: Card) -> None:
    """It trains on the smallest batch that its card gives, with finite outputs and gradients."""
    for space in [space for space in spaces(card) if space in ((), (3, 2))]:
        samples = card.smallest_batch(space)
        found = step(build(card), draw(samples, space=space))
        shape = (samples, CHANNELS, *space)
        finite = all(bool(tensor.isfinite().all()) for tensor in found.values())
        require(finite, f"training on shape {shape}, the smallest batch of the card, gives values that are not finite")


def check_wrong_channels_are_refused(card: Card) -> None:
    """An input with another number of channels is refused, not broadcast."""
    module = build(card)
    for channels in (1, CHANNELS - 1):
        for training in (True, False):
            x = draw()[:, :channels]
            try:
                run(module.train(training), x)
            except (ValueError, RuntimeError):
                continue
            raise ContractError(f"{_mode(training)} took {channels} channels where {CHANNELS} were promised")


def _require_layout(y: Tensor, x: Tensor, what: str) -> None:
    require(y.stride() == x.stride(), f"{what} with strides {x.stride()} gives strides {y.stride()}")


def _mode(training: bool) -> str:
    return "training" if training else "eval"


def _short(name: object) -> str:
    return str(name).removeprefix("torch.")
