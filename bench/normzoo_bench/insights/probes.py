"""Probes of one norm layer in float64: each a batch, and the numbers that show what the layer makes of it."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import normzoo
from normzoo import CannotRecalibrateError, NormalizerOptionError, recalibrate
from normzoo_bench.result import CannotRun
from normzoo_bench.seeds import stream
from normzoo_suites import parse_call
from normzoo_suites.settings import DemonstrationSettings

EPS = 1e-12
"""Of layers that have one, so that what is exact but for it is seen to be."""

MOMENTUM = 0.1
"""Of layers that have one: torch's weight of the new batch."""

INPUTS, CHANNELS, SPACE = 16, 32, (4, 4)
"""Channels before the weights and behind them, and positions."""

CONSTANT = 7.0
TWO = ((90.0, 80.0, 70.0), (60.0, 60.0, 60.0))


def options(settings: DemonstrationSettings) -> dict[str, Any]:
    """Give the layer's options: eps and momentum as above, unless the setting names them."""
    call = parse_call(settings.normalizer)
    known = normzoo.card(call.name).options
    own = {key: value for key, value in (("eps", EPS), ("momentum", MOMENTUM)) if key in known}
    return own | dict(call.options)


def bias_gradient(settings: DemonstrationSettings) -> dict[str, float]:
    """Show how much of the gradient reaches a bias before the layer.

    y = layer(W·x + b), and the loss is Σ v·y with v normal, so that gradients are independent but for the layer.
    The norm of ∂loss/∂b is that of the sum of the gradients g behind W, √Σ_c (Σ g)²; it is given in units of √Σ g²,
    which independent gradients add up to. Batch norm takes the mean out of every channel's g (Ioffe & Szegedy 2015,
    arXiv:1502.03167, section 3.2, leaves the bias out for this reason).
    """
    x, weight, v = _drawn(settings)
    bias = torch.zeros(CHANNELS, dtype=x.dtype, device=x.device, requires_grad=True)
    h = _before(x, weight, bias)
    layer = _primed(_layer(settings, CHANNELS), h)
    of_bias, of_h = torch.autograd.grad((layer(h) * v).sum(), (bias, h))
    return {"bias_gradient": (of_bias.norm() / of_h.norm()).item()}


def undone(settings: DemonstrationSettings) -> dict[str, float]:
    """Show how nearly γ = σ and β = μ of each channel over the batch give the input back.

    The largest |y − x| in units of σ, with these and with the γ and β of each channel that come nearest (least
    squares). Batch norm's own σ holds eps (arXiv:1502.03167, section 3: it can represent the identity).
    """
    x = _drawn(settings)[2]
    spread = _normal(settings, "spread", 2, CHANNELS, 1, 1)
    x = x * spread[0].exp() + 10 * spread[1]
    var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    sigma = var.sqrt().view(-1, 1, 1)
    layer = _primed(_layer(settings, CHANNELS), x)
    with torch.no_grad():
        plain = copy.deepcopy(layer)(x)
        _affine(layer, "weight").copy_((var + getattr(layer, "eps", 0.0)).sqrt())
        _affine(layer, "bias").copy_(mean)
        back = layer(x)
    return {
        "undone_error": ((back - x) / sigma).abs().max().item(),
        "undone_error_at_best": ((_nearest(plain, x) - x) / sigma).abs().max().item(),
    }


def running_mean(settings: DemonstrationSettings) -> dict[str, float]:
    """Show the running mean after some passes of a batch of nothing but 7: 7 · (1 − 0.9^passes) at momentum 0.1.

    Besides, what the layer makes of the 7 in the last of these passes, and in eval mode after it.
    """
    card = normzoo.card(parse_call(settings.normalizer).name)
    layer = _layer(settings, 1)
    if not isinstance(getattr(layer, "running_mean", None), Tensor):
        raise CannotRun(f"{card.name} keeps no running mean")
    x = torch.full((settings.batch_size, 1), CONSTANT, dtype=torch.float64, device=settings.device)
    with torch.no_grad():
        for _ in range(settings.passes):
            y = layer(x)
        kept = layer.get_buffer("running_mean").item()
        later = layer.eval()(x)
    return {"running_mean": kept, "constant_in_training": y[0].item(), "constant_in_eval": later[0].item()}


def one_sample(settings: DemonstrationSettings) -> dict[str, float]:
    """Show whether the layer refuses one sample of one value per channel (1 or 0), in training and in eval mode.

    Besides, what is left of two samples that are alike: the largest output in training mode.
    """
    x = _normal(settings, "sample", 1, CHANNELS)
    return {
        "refuses_one_sample": float(_refuses(_layer(settings, CHANNELS), x)),
        "refuses_one_sample_in_eval": float(_refuses(_layer(settings, CHANNELS).eval(), x)),
        "left_of_two_alike": _layer(settings, CHANNELS)(x.expand(2, -1)).abs().max().item(),
    }


def two_batches(settings: DemonstrationSettings) -> dict[str, float]:
    """Show how far apart the means of the batches (90, 80, 70) and (60, 60, 60) are, before the layer and behind it.

    In training mode each is normalized by itself; in eval mode, and wherever a layer looks at running statistics,
    these are of both together.
    """
    first, second = (torch.tensor(one, dtype=torch.float64, device=settings.device).view(-1, 1) for one in TWO)
    layer = _primed(_layer(settings, 1), torch.cat([first, second]))
    with torch.no_grad():
        after = [copy.deepcopy(layer)(one).mean() for one in (first, second)]
        layer.eval()
        later = [layer(one).mean() for one in (first, second)]
    return {
        "means_apart_before": (first.mean() - second.mean()).abs().item(),
        "means_apart_after": (after[0] - after[1]).abs().item(),
        "means_apart_in_eval": (later[0] - later[1]).abs().item(),
    }


def scale(settings: DemonstrationSettings) -> dict[str, float]:
    """Show what weights times a change: the output, and the gradient of these weights.

    The largest change of the output, and ‖∂loss/∂(aW)‖ as a multiple of ‖∂loss/∂W‖. Batch norm's output is the same,
    and its gradient 1/a of what it was (arXiv:1502.03167, section 3.3). Running statistics are those at a = 1.
    """
    x, weight, v = _drawn(settings)
    layer = _primed(_layer(settings, CHANNELS), _before(x, weight))
    outputs, gradients = [], []
    for a in (1.0, settings.factor):
        scaled = (weight * a).requires_grad_()
        y = copy.deepcopy(layer)(_before(x, scaled))
        gradients.append(torch.autograd.grad((y * v).sum(), scaled)[0].norm())
        outputs.append(y.detach())
    return {
        "scaled_output_change": (outputs[1] - outputs[0]).abs().max().item(),
        "scaled_gradient": (gradients[1] / gradients[0]).item(),
    }


def _layer(settings: DemonstrationSettings, channels: int) -> nn.Module:
    try:
        layer = normzoo.create(parse_call(settings.normalizer).name, channels, **options(settings))
    except NormalizerOptionError as error:
        raise CannotRun(str(error)) from None
    return layer.double().to(settings.device)


def _primed(layer: nn.Module, x: Tensor) -> nn.Module:
    """Give the layer x's own statistics as running ones, where it has any: as it is in the middle of a training."""
    with contextlib.suppress(CannotRecalibrateError):
        recalibrate(layer, [x.detach()])
    return layer


def _normal(settings: DemonstrationSettings, purpose: str, *shape: int) -> Tensor:
    drawn = stream(settings.seed, f"{purpose} of a demonstration").standard_normal(shape)
    return torch.from_numpy(drawn).to(settings.device)


def _drawn(settings: DemonstrationSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Draw x [N, inputs, *space], weights [channels, inputs, 1, 1] and v [N, channels, *space]."""
    x = 1 + _normal(settings, "inputs", settings.batch_size, INPUTS, *SPACE)
    return x, _normal(settings, "weights", CHANNELS, INPUTS, 1, 1), _normal(settings, "v", len(x), CHANNELS, *SPACE)


def _before(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.conv2d(x, weight, bias)


def _affine(layer: nn.Module, name: str) -> Tensor:
    found = getattr(layer, name, None)
    if not isinstance(found, Tensor) or found.shape != (CHANNELS,):
        raise CannotRun(f"{type(layer).__name__} has no {name} per channel, with which to undo it")
    return found


def _nearest(y: Tensor, x: Tensor) -> Tensor:
    """Give γ·y + β with the γ and β of each channel that come nearest to x, by least squares."""
    middle, wanted = (one.mean((0, 2, 3), keepdim=True) for one in (y, x))
    along = ((y - middle) * (x - wanted)).mean((0, 2, 3), keepdim=True)
    return wanted + (y - middle) * along / (y - middle).square().mean((0, 2, 3), keepdim=True).clamp(min=1e-300)


def _refuses(layer: nn.Module, x: Tensor) -> bool:
    try:
        layer(x)
    except ValueError:
        return True
    return False
