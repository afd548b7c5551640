"""The settings of a training, whatever is measured of it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from normzoo_suites.calls import parse_call
from normzoo_suites.errors import SuiteError
from normzoo_suites.fields import LARGEST, CallText, Count, Decay, Gain, Rate, Samples, Share
from normzoo_suites.settings.base import Settings


class TrainingSettings(Settings):
    """One training.

    Attributes:
        dataset: an embedded data set, a hub id or a folder.
        model: a built-in model, or ``timm/NAME``.
        epochs: passes over the training part; the last partial batch of each is dropped.
        batch_size: samples per optimizer step.
        train_samples: how many of the training part are used.
        learning_rate: a number, or ``linear(rate=0.1, per=256)``: the linear rule of Goyal et al. 2017
            (arXiv:1706.02677), rate · batch_size / per.
        weight_decay: of weights; norms and biases go without.
        optimizer: ``sgd`` (Nesterov's momentum, 0.9) or ``adamw``.
        schedule: of the learning rate after the warm-up; ``cosine`` ends at 0.
        warmup_epochs: in which the learning rate rises from 0, linearly.
        clip_gradient: the largest norm of all gradients together that a step is taken with; 0 clips nothing.
        label_smoothing: of the training loss.
        label_noise: the share of training labels that are replaced, each by another class.
        initial_gain: what the initial weights of convolutions and linear layers are multiplied with.
        augment: ``none``, ``flip`` or ``crop_flip(padding=4)``.
        precision: ``auto`` is bfloat16 autocast on CUDA and float32 on CPU.
        layout: memory layout of images and weights; ``auto`` is channels_last on CUDA, contiguous on CPU.
        seed: draws weights, order, augmentation, label noise, and the test part where a data set has none.

    """

    REPLICATES: ClassVar[Literal["seed", "repeat"]] = "seed"

    dataset: CallText
    model: Annotated[str, Field(min_length=1)]
    epochs: Count
    batch_size: Count
    train_samples: Samples = "all"
    learning_rate: Rate = 0.1
    weight_decay: Decay = 5e-4
    optimizer: Literal["sgd", "adamw"] = "sgd"
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    clip_gradient: Decay = 0.0
    label_smoothing: Share = 0.0
    label_noise: Share = 0.0
    initial_gain: Gain = 1.0
    augment: CallText = "none"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    layout: Literal["auto", "contiguous", "channels_last"] = "auto"
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0  # what numpy's and scikit-learn's draws take

    @model_validator(mode="after")
    def _warmup_fits(self) -> TrainingSettings:
        if self.warmup_epochs >= self.epochs:
            raise SuiteError(
                f"warmup_epochs must be fewer than epochs, got {self.warmup_epochs} of {self.epochs}",
                ("warmup_epochs",),
            )
        return self

    def rate(self) -> float:
        """Give the learning rate as a number, the linear rule applied."""
        if not isinstance(self.learning_rate, str):
            return float(self.learning_rate)
        options = parse_call(self.learning_rate).options
        return float(options["rate"] or 0) * self.batch_size / float(options["per"] or 1)
