"""On what an output depends: the declared pools in training, nothing of its batch-mates in eval."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from normzoo.contract._probe import CHANNELS, build, draw, require, run, spaces
from normzoo.registry import Card

PROBED = (1, 5, 2)  # sample, channel and position of the one output element that is watched
NOTHING = 1e-9  # what counts as no influence, relative to the largest influence


class Reach(NamedTuple):
    """The other samples, channels and positions on which the probed element depends."""

    samples: set[int]
    channels: set[int]
    positions: set[int]

    @property
    def pools(self) -> set[str]:
        """The pools that these dependences amount to."""
        every_channel = len(self.channels) == CHANNELS - 1
        found = {"batch": bool(self.samples), "space": bool(self.positions), "channel": every_channel}
        found["group"] = bool(self.channels) and not every_channel
        return {pool for pool, reached in found.items() if reached}


def check_training_depends_on_the_declared_pools(card: Card) -> None:
    """In training, an output depends on the declared pools and on nothing else, by its value or its gradient."""
    for steps in (0, 3):
        found, declared = reach(build(card, steps=steps), draw()).pools, card.pools - {"rank"}
        require(
            found == declared,
            f"the card declares pools {_listed(declared)}, but after {steps} steps an output depends on "
            f"{_listed(found)}; correct the card, or what forward pools over",
        )


def check_eval_ignores_batch_mates(card: Card) -> None:
    """In eval, a sample's output does not depend on the other samples of its batch."""
    for steps in (0, 3):
        mates = reach(build(card, steps=steps).eval(), draw()).samples
        require(
            not mates,
            f"in eval, after {steps} training steps, the output of sample {PROBED[0]} depends on samples "
            f"{sorted(mates)} of its batch; use running statistics or per-sample ones",
        )


def check_eval_takes_an_empty_batch(card: Card) -> None:
    """In eval, a batch of no samples gives an output of no samples."""
    module = build(card, torch.float32, steps=2).eval()
    for space in spaces(card):
        x = draw(0, space=space, dtype=torch.float32)
        try:
            shape = run(module, x).shape
        except (RuntimeError, ValueError, ArithmeticError) as error:
            require(False, f"an empty batch of shape {tuple(x.shape)} in eval raises {type(error).__name__}: {error}")
        require(shape == x.shape, f"an empty batch of shape {tuple(x.shape)} in eval gives shape {tuple(shape)}")


def check_training_leaves_eval_only_statistics_unread(card: Card) -> None:
    """Where the card says eval_only_stats, training gives the same whatever the running statistics are."""
    if not card.eval_only_stats:
        return
    require(card.running_stats, "the card says eval_only_stats but not running_stats; drop the one or add the other")
    for steps in (0, 5):
        module = build(card, steps=steps)
        before = run(module, draw())
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.mul_(3).add_(2)  # stays positive where it was: it may be a variance
        require(
            torch.equal(before, run(module, draw())),
            f"the card says eval_only_stats, but after {steps} steps other running statistics change the training "
            "output; drop the claim",
        )


def reach(module: nn.Module, x: Tensor) -> Reach:
    """Find what one output element depends on, by its gradient or by its value; x is [N, C, H, W].

    Either alone can be fooled: unclipped Batch Renorm's value ignores its batch-mates and its gradient does not; with a
    detached mean it is the other way round.
    """
    by_gradient, by_value = _by_gradient(module, x), _by_value(module, x)
    return Reach(*(one | other for one, other in zip(by_gradient, by_value, strict=True)))


def _by_gradient(module: nn.Module, x: Tensor) -> Reach:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(run(module, x).flatten(2)[PROBED], x)
    touched = gradient.flatten(2).abs()  # [N, C, S]
    touched = touched > NOTHING * touched.max()
    along = [touched.any(dim=2).any(dim=1), touched.any(dim=2).any(dim=0), touched.any(dim=1).any(dim=0)]
    return Reach(*(set(line.nonzero().flatten().tolist()) - {at} for line, at in zip(along, PROBED, strict=True)))


@torch.no_grad()
def _by_value(module: nn.Module, x: Tensor) -> Reach:
    base, other = run(module, x).flatten(2)[PROBED], draw(len(x), space=tuple(x.shape[2:]), seed=5, std=3.0)

    def moves(axis: int, index: int) -> bool:
        changed = x.flatten(2).clone()
        changed.select(axis, index).copy_(other.flatten(2).select(axis, index))
        gap = (run(module, changed.view_as(x)).flatten(2)[PROBED] - base).abs()
        return not gap.item() <= NOTHING * (1 + base.abs().item())  # a NaN counts as moved

    sizes = x.flatten(2).shape
    return Reach(*({i for i in range(sizes[a]) if i != PROBED[a] and moves(a, i)} for a in range(3)))


def _listed(pools: set[str] | frozenset[str]) -> str:
    return "{" + ", ".join(sorted(pools)) + "}"
