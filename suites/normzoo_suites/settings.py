"""Every setting a cell can have, spelt once: its type, its range and its default.

A measure is a name and a settings class. Defaults stay out of a cell's id, so a new setting that has one leaves old
ids alone; a changed default would silently change what old ids mean and is therefore never made.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, model_validator

from normzoo_suites.calls import parse_call


def _canonical(text: str) -> str:
    return str(parse_call(text))


def _rate(given: object) -> float | str:
    call = parse_call(given) if isinstance(given, str) else None
    numbers = [call.options.get("rate"), call.options.get("per")] if call else [given]
    shape_fits = call is None or (call.name == "linear" and set(call.options) == {"rate", "per"})
    if not shape_fits or not all(_positive(number) for number in numbers):
        raise ValueError("must be a number above 0, or linear(rate=…, per=…) of such numbers")
    return str(call) if call else float(given)  # type: ignore[arg-type]  # _positive has seen that it is a number


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


CallText = Annotated[str, AfterValidator(_canonical)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float | str, PlainValidator(_rate)]


class Settings(BaseModel):
    """What every measure shares: which normalizer, on what kind of device."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    normalizer: CallText
    device: Literal["cpu", "cuda"] = "cpu"


class AccuracySettings(Settings):
    """One training run and its test accuracy.

    ``learning_rate`` is a number, or ``linear(rate=0.1, per=256)``: the linear rule of Goyal et al. 2017
    (arXiv:1706.02677), rate · batch_size / per.
    """

    dataset: CallText
    model: str
    epochs: Count
    batch_size: Count
    train_samples: Count | Literal["all"] = "all"
    ranks: Count = 1
    split: CallText = "iid"
    dealing: CallText = "shuffled"
    buffers: Literal["rank0", "mean"] = "rank0"
    learning_rate: Rate = 0.1
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5e-4
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _ranks_divide_the_batch(self) -> AccuracySettings:
        if self.batch_size % self.ranks:
            raise ValueError(
                f"ranks must divide batch_size, and {self.ranks} does not divide {self.batch_size}; "
                f"these do: {', '.join(str(n) for n in range(1, self.batch_size + 1) if self.batch_size % n == 0)}"
            )
        return self

    def rate(self) -> float:
        """Give the learning rate as a number, the linear rule applied."""
        if not isinstance(self.learning_rate, str):
            return float(self.learning_rate)
        options = parse_call(self.learning_rate).options
        return float(options["rate"] or 0) * self.batch_size / float(options["per"] or 1)


_SHAPE = re.compile(r"[1-9]\d*(x[1-9]\d*){0,3}")


def _shape(text: str) -> str:
    if not _SHAPE.fullmatch(text):
        raise ValueError("must be channels and 0 to 3 space axes, such as 64x56x56")
    return text


class ThroughputSettings(Settings):
    """The time of one layer: ``shape`` is C or CxL, CxHxW, CxDxHxW; ``threads`` is CPU threads."""

    shape: Annotated[str, AfterValidator(_shape)]
    batch_size: Count
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    layout: Literal["contiguous", "channels_last"] = "contiguous"
    direction: Literal["forward", "forward_backward", "eval"] = "forward_backward"
    threads: Count = 1

    @model_validator(mode="after")
    def _layout_fits_the_shape(self) -> ThroughputSettings:
        if self.layout == "channels_last" and self.shape.count("x") not in (2, 3):
            raise ValueError(f"layout channels_last needs 2 or 3 space axes, and shape {self.shape} has not")
        return self

    def sizes(self) -> tuple[int, ...]:
        """Give the input's shape: (N, C, *space)."""
        return (self.batch_size, *(int(size) for size in self.shape.split("x")))


MEASURES: dict[str, type[Settings]] = {"accuracy": AccuracySettings, "throughput": ThroughputSettings}
