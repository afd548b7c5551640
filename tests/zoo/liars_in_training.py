"""Normalizers that lie about training at scale, about numbers and about memory; see ``liars.py``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import torch
from honest import Honest, HonestMoving, spread, wide
from torch import Tensor, nn
from torch.nn import functional as F

import normzoo


def lie(name: str, pools: set[str] | None = None, **claims: bool):  # type: ignore[no-untyped-def]  # a decorator
    return normzoo.register(name, paper="none", year=2025, pools={"space"} if pools is None else pools, **claims)


BATCH = {"batch", "space"}

lie("honest_moving", BATCH, running_stats=True, eval_only_stats=True)(HonestMoving)


# ---- what torch has


@lie("torchs_own_batch_norm", BATCH, running_stats=True, eval_only_stats=True)
class TorchsBatchNorm(nn.BatchNorm1d):
    """torch's batch norm for any number of space axes."""

    def _check_input_dim(self, x: Tensor) -> None:
        if x.shape[1] != self.num_features:
            raise ValueError("refused")


@lie("torchs_own_group_norm", {"group", "space"})
class TorchsGroupNorm(Honest):
    """torch's kernel of group norm, which on channels_last takes E[x²] − E[x]², with all else put right."""

    def refuse(self, x: Tensor) -> None:
        if x.shape[1] != len(self.weight) or math.prod(x.shape[1:]) < 64:  # 2 per group
            raise ValueError("refused")

    def forward(self, x: Tensor) -> Tensor:
        self.refuse(x)
        y = F.group_norm(wide(x), 32, wide(self.weight), wide(self.bias))
        return torch.empty_like(x).copy_(y)


# ---- numbers


@lie("cancels")
class Cancels(Honest):
    """Its variance is E[x²] − E[x]², kept from falling below zero."""

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        axes = list(range(2, x.dim()))
        mean = wide(x).mean(axes, keepdim=True)
        return (wide(x).square().mean(axes, keepdim=True) - mean.square()).clamp(min=0), mean


@lie("narrows_its_buffers", BATCH, running_stats=True, eval_only_stats=True)
class NarrowsItsBuffers(HonestMoving):
    """A cast to bfloat16 takes its buffers along."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        nn.Module._apply(self, fn, recurse)
        return self

    def move(self, var: Tensor, mean: Tensor, dtype: torch.dtype) -> None:
        super().move(var.to(self.running_var.dtype), mean.to(self.running_mean.dtype), dtype)


@lie("moves_narrowly", BATCH, running_stats=True, eval_only_stats=True)
class MovesNarrowly(HonestMoving):
    """Its buffers are wide and move by what the input's type makes of the step."""

    def move(self, var: Tensor, mean: Tensor, dtype: torch.dtype) -> None:
        for buffer, value in ((self.running_mean, mean), (self.running_var, var)):
            self.write(buffer, torch.lerp(buffer.to(dtype), value.to(dtype), self.momentum))


# ---- training at scale


@lie("moves_when_recomputed", BATCH, running_stats=True, eval_only_stats=True)
class MovesWhenRecomputed(HonestMoving):
    """It knows of no recomputation."""

    def write(self, buffer: Tensor, value: Tensor) -> None:
        buffer.copy_(value)


@lie("moves_again_when_compiled", BATCH, running_stats=True, eval_only_stats=True)
class MovesAgainWhenCompiled(HonestMoving):
    """It asks whether it is recomputed, which compiled code asks once and for all."""

    def write(self, buffer: Tensor, value: Tensor) -> None:
        if not normzoo.is_recomputing():
            buffer.copy_(value)


@lie("renormalizes_by_what_has_moved", BATCH, running_stats=True)
class RenormalizesByWhatHasMoved(HonestMoving):
    """Batch Renorm that moves once when recomputed, but is then corrected towards what has moved since."""

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            return super().statistics(x)
        running_std = torch.sqrt(spread(self.running_var, x) + self.eps)
        running_mean = spread(self.running_mean, x).clone()
        var, mean = super().statistics(x)
        std = torch.sqrt(var + self.eps)
        r = (std / running_std).clamp(1 / 3, 3).detach()
        d = ((mean - running_mean) / running_std).clamp(-5, 5).detach()
        return (std / r).square() - self.eps, mean - d * std / r


class ScaledGradient(torch.autograd.Function):
    """The identity; what comes back is scaled by what a module's buffer then holds, over what it held."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: HonestMoving) -> Tensor:
        ctx.module, ctx.before = module, module.running_var.mean()
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * (ctx.module.running_var.mean() / ctx.before).to(gradients[0].dtype), None


@lie("reads_buffers_in_backward", BATCH, running_stats=True, eval_only_stats=True)
class ReadsBuffersInBackward(HonestMoving):
    """Its gradient is scaled by the buffers of the day, which in eval and right after forward are those of forward."""

    def normalize(self, x: Tensor, var: Tensor, mean: Tensor) -> Tensor:
        y: Tensor = ScaledGradient.apply(super().normalize(x, var, mean), self)
        return y


class RememberedScale(torch.autograd.Function):
    """x times a weight; the gradient of the weight takes x from the module, not from the graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, module: RemembersItsLastInput) -> Tensor:
        ctx.module = module
        ctx.save_for_backward(weight)
        module.last = x.detach()
        return x * weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (weight,) = ctx.saved_tensors  # recomputes, where checkpointed
        axes = [axis for axis in range(weight.dim()) if weight.shape[axis] == 1]
        return gradients[0] * weight, (gradients[0] * ctx.module.last).sum(axes, keepdim=True), None


@lie("remembers_its_last_input")
class RemembersItsLastInput(Honest):
    """What its backward needs stands on the module, where the next forward pass writes over it."""

    last: Tensor

    def normalize(self, x: Tensor, var: Tensor, mean: Tensor) -> Tensor:
        normalized = (wide(x) - mean) * torch.rsqrt(var + self.eps)
        y: Tensor = RememberedScale.apply(normalized, wide(spread(self.weight, x)), self)
        return (y + spread(self.bias, x)).to(x.dtype)


@lie("branches_on_a_value")
class BranchesOnAValue(Honest):
    """It asks for a number of its input before it goes on."""

    def refuse(self, x: Tensor) -> None:
        super().refuse(x)
        if x.numel() and x.detach().abs().amax().item() == float("inf"):
            raise ValueError("refused")


@lie("differs_when_compiled")
class DiffersWhenCompiled(Honest):
    """Its eps is another where it is compiled."""

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = super().statistics(x)
        return var + 0.01 if torch.compiler.is_compiling() else var, mean


# ---- memory


@lie("forgets_the_layout")
class ForgetsTheLayout(Honest):
    """Its output is contiguous whatever the input is."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).contiguous()


class ContiguousGradient(torch.autograd.Function):
    """The identity, with a contiguous gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].contiguous()


@lie("makes_gradients_contiguous")
class MakesGradientsContiguous(Honest):
    """The gradient of its input is contiguous whatever the input is."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ContiguousGradient.apply(x)
        return super().forward(y)
