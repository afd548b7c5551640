"""The settings of ``accuracy``: one training run, and what is read off it."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from normzoo_suites.errors import SuiteError
from normzoo_suites.fields import LARGEST, CallText, Count, Counting, Share
from normzoo_suites.settings.base import divisors
from normzoo_suites.settings.training import TrainingSettings


class AccuracySettings(TrainingSettings):
    """One training run, maybe of several ranks, and what is read off it; ``batch_size`` is of all ranks together.

    Attributes:
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
        ema: decay of a moving average of the weights, read besides; 0 is none.
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

    """

    READ_AFTERWARDS: ClassVar[frozenset[str]] = frozenset(
        {"eval_batch_size", "stream", "corruption", "stream_momentum", "probe"}
    )
    METRICS: ClassVar[tuple[str, ...]] = (
        "test_accuracy",
        "test_accuracy_population",
        "test_accuracy_batch",
        "test_accuracy_mean_buffers",
        "test_accuracy_frozen",
        "test_accuracy_ema",
        "train_eval_gap",
        "stream_accuracy",
        "stream_accuracy_batch",
        "stream_accuracy_adabn",
        "stream_accuracy_momentum",
        "test_accuracy_grouped",
        "label_leak",
        "gradient_footprint",
        "validation_accuracy",
        "validation_loss",
        "train_accuracy",
        "test_loss",
        "chance_accuracy",
        "local_batch",
    )

    ranks: Count = 1
    draw: CallText = "iid"
    split: CallText = "iid"
    dealing: CallText = "shuffled"
    effects: CallText = "none"
    ranks_backend: Literal["virtual", "process"] = "virtual"
    local_epochs: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    buffers: Literal["rank0", "mean", "local"] = "rank0"
    ema: Share = 0.0
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
    def _readings_fit(self) -> AccuracySettings:
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
    def _labels_can_be_noisy(self) -> AccuracySettings:
        for key, plain in (("data", "resident"), ("effects", "none")):
            if self.label_noise and getattr(self, key) != plain:
                raise SuiteError(
                    f'label_noise replaces labels that lie ready; it needs {key} = "{plain}", got {getattr(self, key)}',
                    ("label_noise",),
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
