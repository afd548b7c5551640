"""The settings of ``accuracy``: one training run, and what is read off it."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from normzoo_suites.calls import parse_call
from normzoo_suites.errors import SuiteError
from normzoo_suites.fields import LARGEST, CallText, Count, Counting, Decay, Rate, Samples, Share
from normzoo_suites.settings.base import Settings, divisors


class AccuracySettings(Settings):
    """One training run, and what is read off it.

    Attributes:
        dataset: an embedded data set, a hub id or a folder.
        model: a built-in model, or ``timm/NAME``.
        epochs: passes over the training part; the last partial batch of each is dropped.
        batch_size: samples per optimizer step, all ranks together.
        train_samples: how many of the training part are used.
        ranks: data-parallel width; ``local_batch`` = batch_size / ranks.
        draw: which samples make up a step: ``iid``, ``balanced`` (every class equally often), and where the steps
            themselves are skewed ``classes(k=2)``, ``class_ordered`` or ``drifting``.
        split: which data the ranks own; each step is balanced over ranks.
        dealing: how one step's samples are dealt to the ranks.
        effects: what every rank's part of a step has to itself: ``none``, ``nuisance(shift=1, scale=0.5)``, or
            ``signal(shift=1)``, which then is the label.
        ranks_backend: ``virtual`` ranks in one process, or one ``process`` per rank.
        local_epochs: 0 averages gradients in every step; E is federated averaging (McMahan et al. 2017,
            arXiv:1602.05629): ranks train E epochs by themselves, then their weights are averaged.
        buffers: whose running statistics are kept: rank 0's, the mean over ranks, or with ``local_epochs`` each
            rank's norm layers stay ``local`` (FedBN, arXiv:2102.07623).
        learning_rate: a number, or ``linear(rate=0.1, per=256)``: the linear rule of Goyal et al. 2017
            (arXiv:1706.02677), rate · batch_size / per.
        weight_decay: of weights; norms and biases go without.
        optimizer: ``sgd`` (Nesterov's momentum, 0.9) or ``adamw``.
        schedule: of the learning rate after the warm-up; ``cosine`` ends at 0.
        warmup_epochs: in which the learning rate rises from 0, linearly.
        label_smoothing: of the training loss.
        ema: decay of a moving average of the weights, read besides; 0 is none.
        augment: ``none``, ``flip`` or ``crop_flip(padding=4)``.
        precision: ``auto`` is bfloat16 autocast on CUDA and float32 on CPU.
        layout: memory layout of images and weights; ``auto`` is channels_last on CUDA, contiguous on CPU.
        capture: ``auto`` replays a step as a CUDA graph on CUDA; ``off`` launches every step.
        momentum_counts: ``steps``, or ``samples(per=N)``: running statistics then forget at every batch size as their
            momentum says it at batch size N, 1 − (1 − momentum)^(batch_size / N).
        data: ``resident`` on the device, or ``stream``, decoded and augmented while training.
        evaluate_on: the test part, or a validation part that is cut from the training part.
        readings: ``running`` statistics only, or ``all``: population and batch statistics too.
        eval_batch_size: samples per statistic of the readings with batch statistics; 0 is as many as in training.
        stream: the order in which the trained net meets the test part, batch by batch, with statistics that are kept,
            each batch's own, or adapted: ``none``, ``iid``, ``class_ordered`` or ``drifting``.
        corruption: of the images of that stream.
        stream_momentum: the weight of each batch of the stream in the statistics that follow it.
        probe: ``leak`` reads batches of one class each, and how far a sample's gradient reaches into its batch-mates.
        frozen_from: the share of training after which a branch goes on with frozen statistics; 1 is no branch.
        seed: draws weights, order, augmentation, and the test part where a data set has none.

    """

    REPLICATES: ClassVar[Literal["seed", "repeat"]] = "seed"

    dataset: CallText
    model: Annotated[str, Field(min_length=1)]
    epochs: Count
    batch_size: Count
    train_samples: Samples = "all"
    ranks: Count = 1
    draw: CallText = "iid"
    split: CallText = "iid"
    dealing: CallText = "shuffled"
    effects: CallText = "none"
    ranks_backend: Literal["virtual", "process"] = "virtual"
    local_epochs: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    buffers: Literal["rank0", "mean", "local"] = "rank0"
    learning_rate: Rate = 0.1
    weight_decay: Decay = 5e-4
    optimizer: Literal["sgd", "adamw"] = "sgd"
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    label_smoothing: Share = 0.0
    ema: Share = 0.0
    augment: CallText = "none"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    layout: Literal["auto", "contiguous", "channels_last"] = "auto"
    capture: Literal["auto", "off"] = "auto"
    momentum_counts: Counting = "steps"
    data: Literal["resident", "stream"] = "resident"
    evaluate_on: Literal["test", "validation"] = "test"
    readings: Literal["running", "all"] = "running"
    eval_batch_size: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    stream: CallText = "none"
    corruption: CallText = "none"
    stream_momentum: Annotated[float, Field(gt=0, lt=1)] = 0.1
    probe: Literal["none", "leak"] = "none"
    frozen_from: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0  # what numpy's and scikit-learn's draws take

    @model_validator(mode="after")
    def _ranks_divide_the_batch(self) -> AccuracySettings:
        if self.batch_size % self.ranks:
            near = sorted(divisors(self.batch_size), key=lambda n: abs(math.log(n / self.ranks)))[:6]
            raise SuiteError(
                f"ranks must divide batch_size, and {self.ranks} does not divide {self.batch_size}; "
                f"the nearest that do: {', '.join(map(str, sorted(near)))}",
                ("ranks",),
            )
        return self

    @model_validator(mode="after")
    def _parts_of_training_fit(self) -> AccuracySettings:
        if self.warmup_epochs >= self.epochs:
            raise SuiteError(
                f"warmup_epochs must be fewer than epochs, got {self.warmup_epochs} of {self.epochs}",
                ("warmup_epochs",),
            )
        by_batch = self.readings == "all" or self.stream != "none" or self.probe != "none"
        if self.eval_batch_size and not by_batch:
            raise SuiteError(
                'eval_batch_size is of the readings with batch statistics; it needs readings = "all", a stream or a '
                "probe",
                ("eval_batch_size",),
            )
        if self.corruption != "none" and self.stream == "none":
            raise SuiteError(
                'corruption is of the stream that a trained net meets; it needs stream, such as stream = "iid"',
                ("corruption",),
            )
        if self.frozen_from < 1 and self.frozen_epoch() >= self.epochs:
            raise SuiteError(
                f"frozen_from = {self.frozen_from:g} leaves no epoch of {self.epochs} for the branch with frozen "
                "statistics; train longer, branch earlier, or not at all (frozen_from=1)",
                ("frozen_from",),
            )
        return self

    @model_validator(mode="after")
    def _rounds_fit(self) -> AccuracySettings:
        if self.buffers == "local" and not self.local_epochs:
            raise SuiteError(
                'buffers = "local" keeps the norm layers of ranks that train by themselves; it needs local_epochs',
                ("buffers",),
            )
        if not self.local_epochs:
            return self
        needed: dict[str, object] = {"dealing": "shuffled", "draw": "iid", "ema": 0.0, "data": "resident"}
        for key, plain in needed.items():
            if (got := getattr(self, key)) != plain:
                raise SuiteError(
                    f"ranks that train by themselves (local_epochs) need {key} = {plain}, got {got}", (key,)
                )
        if self.buffers == "rank0":
            raise SuiteError(
                'ranks that train by themselves (local_epochs) have buffers = "mean", averaged with the weights, or '
                '"local"; write one of them',
                ("buffers",),
            )
        if self.epochs % self.local_epochs:
            near = min(divisors(self.epochs), key=lambda n: abs(n - self.local_epochs))
            raise SuiteError(
                f"local_epochs must divide epochs, so that rounds are whole, and {self.local_epochs} does not divide "
                f"{self.epochs}; the nearest that does: {near}",
                ("local_epochs",),
            )
        return self

    @property
    def local_batch(self) -> float:
        """Samples per rank and step."""
        return self.batch_size / self.ranks

    def frozen_epoch(self) -> int:
        """Give the number of epochs before the branch with frozen statistics, nearest to its share in whole rounds."""
        unit = max(1, self.local_epochs)
        return max(unit, unit * round(self.frozen_from * self.epochs / unit))

    def rate(self) -> float:
        """Give the learning rate as a number, the linear rule applied."""
        if not isinstance(self.learning_rate, str):
            return float(self.learning_rate)
        options = parse_call(self.learning_rate).options
        return float(options["rate"] or 0) * self.batch_size / float(options["per"] or 1)
