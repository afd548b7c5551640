"""Normalizers that lie: each is honest in all but the one thing that its docstring says.

Loaded as a plugin file by the tests of the contract kit; the names tell what is wrong. Those that lie about training
and memory stand in ``liars_in_training.py``.
"""

from __future__ import annotations

import itertools
import math

import torch
from honest import Honest, HonestMoving, moments
from torch import Tensor, nn
from torch.nn import functional as F

import normzoo


def lie(name: str, pools: set[str] | None = None, **claims: bool):  # type: ignore[no-untyped-def]  # a decorator
    return normzoo.register(name, paper="none", year=2025, pools={"space"} if pools is None else pools, **claims)


lie("honest")(Honest)


@lie("pools_over_the_batch_secretly")
class PoolsOverTheBatch(Honest):
    """In training its statistics are the batch's."""

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training or len(x) == 0:
            return super().statistics(x)
        return moments(x, [0, *range(2, x.dim())])


@lie("hides_a_batch_mean")
class HidesABatchMean(Honest):
    """Its training mean holds a little of the batch's, of which autograd knows nothing."""

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = super().statistics(x)
        return var, mean + 0.1 * mean.detach().mean(0, keepdim=True) if self.training else mean


@lie("pools_over_less_than_it_says", {"channel", "space"})
class PoolsOverLess(normzoo.card("layer_norm_channels").factory):  # type: ignore[misc]  # a class found by its name
    """It declares space too, and pools over the channels of each position."""


@lie("some_channels_for_all", {"channel", "space"})
class SomeChannelsForAll(normzoo.card("group_norm").factory):  # type: ignore[misc]  # a class found by its name
    """It declares all channels and pools over groups of them."""


@lie("peeks_at_batch_mates_in_eval")
class PeeksInEval(Honest):
    """In eval its mean holds a little of the batch's."""

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = super().statistics(x)
        return var, mean if self.training or len(x) == 0 else mean + 0.1 * mean.mean(0, keepdim=True)


@lie("fails_on_an_empty_batch")
class FailsOnEmpty(Honest):
    """It takes the maximum of the input, which an empty one does not have."""

    def refuse(self, x: Tensor) -> None:
        super().refuse(x)
        assert x.detach().max() > -math.inf


@lie("widens_bfloat16")
class WidensBfloat16(Honest):
    """It gives float32 for bfloat16."""

    def normalize(self, x: Tensor, var: Tensor, mean: Tensor) -> Tensor:
        return super().normalize(x if x.dtype != torch.bfloat16 else x.float(), var, mean)


@lie("drops_a_space_axis")
class DropsASpaceAxis(Honest):
    """It flattens volumes."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if x.dim() < 5 or x.is_contiguous(memory_format=torch.channels_last_3d) else y.flatten(3)


@lie("takes_a_single_value")
class TakesASingleValue(Honest):
    """It normalizes one value to nothing."""

    def refuse(self, x: Tensor) -> None:
        if x.shape[1] != len(self.weight):
            raise ValueError("refused")


@lie("wants_three_samples")
class WantsThreeSamples(Honest):
    """It trains on no fewer than 3 samples, though its card gives 1."""

    def refuse(self, x: Tensor) -> None:
        super().refuse(x)
        if self.training and len(x) in (1, 2):
            raise ValueError("refused")


@lie("broadcasts_one_channel")
class BroadcastsOneChannel(Honest):
    """It takes one channel for all."""

    def refuse(self, x: Tensor) -> None:
        if math.prod(x.shape[2:]) < 2:
            raise ValueError("refused")


@lie("divides_by_zero")
class DividesByZero(Honest):
    """It adds no eps."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, eps=0.0)


@lie("detaches_its_deviation")
class DetachesItsDeviation(Honest):
    """Its gradient takes the variance as constant."""

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = super().statistics(x)
        return var.detach(), mean


@lie("starts_at_zero")
class StartsAtZero(Honest):
    """Its weight starts at 0."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        nn.init.zeros_(self.weight)


@lie("swallows_options")
class SwallowsOptions(Honest):
    """It takes any option."""

    def __init__(self, num_features: int, **_: object) -> None:
        super().__init__(num_features)


@lie("draws_at_construction")
class DrawsAtConstruction(Honest):
    """It draws its start and throws it away."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        torch.rand(1)


@lie("draws_in_training")
class DrawsInTraining(Honest):
    """It draws a number in training and throws it away."""

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = super().statistics(x)
        torch.rand(1 if self.training else 0)
        return var, mean


@lie("grows")
class Grows(Honest):
    """It scales by a Python number of steps, which its state_dict does not hold."""

    steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return super().forward(x) * (1 + 0.01 * self.steps)


@lie("counts_calls_of_all")
class CountsCallsOfAll(Honest):
    """In float32 it changes with every call of any of its kind."""

    calls = itertools.count()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + 1e-6 * (next(self.calls) if x.dtype == torch.float32 else 0))


BATCH = {"batch", "space"}


@lie("hides_a_part_from_autograd", BATCH, running_stats=True)
class HidesAPart(normzoo.card("batch_renorm").factory):  # type: ignore[misc]  # a class found by its name
    """Its gradient is a tenth too small."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + 0.1 * y.detach()


@lie("moves_in_eval", BATCH, running_stats=True, eval_only_stats=True)
class MovesInEval(HonestMoving):
    """Its running mean drifts in eval too."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if not self.training:
            self.running_mean = self.running_mean + 0.01
        return y


@lie("moves_undeclared", BATCH)
class MovesUndeclared(HonestMoving):
    """It keeps running statistics that its card does not tell of."""


@lie("keeps_still", BATCH, running_stats=True, eval_only_stats=True)
class KeepsStill(HonestMoving):
    """It declares running statistics that stay at their start."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, momentum=0.0)


@lie("reads_statistics_secretly", BATCH, running_stats=True, eval_only_stats=True)
class ReadsStatistics(HonestMoving):
    """Its training output holds a little of the running mean, once it is warm."""

    def forward(self, x: Tensor) -> Tensor:
        warm = self.training and int(self.num_batches_tracked) >= 4
        mean = self.running_mean.clone()
        y = super().forward(x)
        return y + 0.1 * mean.view(1, -1, *[1] * (x.dim() - 2)).to(y.dtype) if warm else y


@lie("claims_ranks", {"rank", "batch", "space"}, running_stats=True, eval_only_stats=True)
class ClaimsRanks(HonestMoving):
    """It declares all ranks and sees its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if len(x) or not self.training else F.relu(x)


@lie("talks_to_ranks_secretly", BATCH, running_stats=True, eval_only_stats=True)
class TalksSecretly(normzoo.card("sync_batch_norm").factory):  # type: ignore[misc]  # a class found by its name
    """It pools over ranks and does not say so."""


@lie("breaks_with_an_empty_shard", {"rank", "batch", "space"}, running_stats=True, eval_only_stats=True)
class BreaksWithAnEmptyShard(normzoo.card("sync_batch_norm").factory):  # type: ignore[misc]  # a class found by its name
    """It refuses to take part with no samples, and its peer waits."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) == 0:
            raise ValueError("no samples")
        return super().forward(x)
