"""Batches and feeds under batch effects: training draws them anew in every step, a reading has them once."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from normzoo_bench.seeds import stream
from normzoo_bench.training.batchwise import iid_batches
from normzoo_bench.training.effects import effects
from normzoo_bench.training.feed import Feed, affect
from normzoo_bench.training.trainer import ResidentBatches
from normzoo_suites.settings import AccuracySettings


class AffectedBatches(ResidentBatches):
    """Resident batches of which each rank's part has an effect of its own, drawn for an epoch before it begins."""

    def __init__(self, feed: Feed, settings: AccuracySettings, classes: int) -> None:
        super().__init__(feed, settings)
        self.effects, self.classes, self.ranks = effects(settings.effects), classes, settings.ranks
        self.felt = torch.zeros((*self.order.shape, 2), device=settings.device)
        self.levels = torch.zeros_like(self.order)

    def begin(self, epoch: int) -> None:
        """Draw an epoch's order, augmentation and effects."""
        super().begin(epoch)
        steps, size = self.order.shape
        draw = stream(self.seed, f"effects of epoch {epoch}")
        felt, levels = self.effects.draw(draw, steps, self.ranks, size // self.ranks, self.classes)
        self.felt.copy_(torch.from_numpy(felt))
        self.levels.copy_(torch.from_numpy(levels))

    def take(self) -> tuple[Tensor, Tensor]:
        """Give the next batch."""
        felt, levels = self.of_step(self.felt), self.of_step(self.levels)
        images, labels = super().take()
        return affect(images, felt), levels if self.effects.signal else labels


def affected(feed: Feed, settings: AccuracySettings, classes: int, part: str) -> Feed:
    """Give a part of the data with effects as training has them: each batch that a rank would have shares one.

    These are the batches by which it is read with batch statistics; ``part`` is its name, since each has its own draws.
    """
    drawn = effects(settings.effects)
    batches = iid_batches(settings.seed, len(feed), min(int(settings.local_batch), len(feed)))
    # a step of one rank for each batch; what fills a batch up has the effect of the batch that it belongs to
    draw = stream(settings.seed, f"effects of the {part} part")
    felt, levels = drawn.draw(draw, len(batches.index), 1, batches.index.shape[1], classes)
    index = batches.index[batches.counts]
    own, labels = torch.empty(len(feed), 2), feed.labels.cpu().clone()
    own[index] = torch.from_numpy(felt)[batches.counts]
    if drawn.signal:
        labels[index] = torch.from_numpy(levels)[batches.counts]
    device = feed.labels.device
    return dataclasses.replace(feed, effects=own.to(device), labels=labels.to(device))
