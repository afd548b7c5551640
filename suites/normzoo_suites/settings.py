"""Every setting a cell can have, spelt once: its type, its range and its default.

A measure is a name and a settings class. Defaults stay out of a cell's id, so a new setting that has one leaves old
ids alone; a changed default would silently change what old ids mean and is therefore never made.
"""

from __future__ import annotations

import functools
import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    create_model,
    model_validator,
)

from normzoo_suites.calls import parse_call
from normzoo_suites.errors import SuiteError, explain, suggest

_LARGEST = 2**31 - 1
_LARGEST_RATE = 1e30  # what float32 can multiply with


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
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LARGEST_RATE


def _samples(given: object) -> int | Literal["all"]:
    if given == "all":
        return "all"
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= _LARGEST:
        return given
    raise ValueError('must be a whole number from 1, or "all"')


_SHAPE = re.compile(r"[1-9][0-9]{0,5}(x[1-9][0-9]{0,5}){0,3}")


def _shape(text: str) -> str:
    if not _SHAPE.fullmatch(text):
        raise ValueError("must be channels and 0 to 3 space axes, such as 64x56x56")
    return text


CallText = Annotated[str, AfterValidator(_canonical)]
Count = Annotated[int, Field(ge=1, le=_LARGEST)]
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
    model: Annotated[str, Field(min_length=1)]
    epochs: Count
    batch_size: Count
    train_samples: Annotated[int | Literal["all"], PlainValidator(_samples)] = "all"
    ranks: Count = 1
    split: CallText = "iid"
    dealing: CallText = "shuffled"
    buffers: Literal["rank0", "mean"] = "rank0"
    learning_rate: Rate = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=_LARGEST_RATE, allow_inf_nan=False), AfterValidator(abs)] = (
        5e-4  # abs: -0.0 is 0.0
    )
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0  # what numpy's and scikit-learn's draws take

    @model_validator(mode="after")
    def _ranks_divide_the_batch(self) -> AccuracySettings:
        if self.batch_size % self.ranks:
            near = sorted(_divisors(self.batch_size), key=lambda n: abs(math.log(n / self.ranks)))[:6]
            raise SuiteError(
                f"ranks must divide batch_size, and {self.ranks} does not divide {self.batch_size}; "
                f"the nearest that do: {', '.join(map(str, sorted(near)))}",
                ("ranks",),
            )
        return self

    @property
    def local_batch(self) -> float:
        """Samples per rank and step."""
        return self.batch_size / self.ranks

    def rate(self) -> float:
        """Give the learning rate as a number, the linear rule applied."""
        if not isinstance(self.learning_rate, str):
            return float(self.learning_rate)
        options = parse_call(self.learning_rate).options
        return float(options["rate"] or 0) * self.batch_size / float(options["per"] or 1)


def _divisors(number: int) -> list[int]:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})


class ThroughputSettings(Settings):
    """The time of one layer: ``shape`` is C or CxL, CxHxW, CxDxHxW; ``threads`` is CPU threads."""

    shape: Annotated[str, AfterValidator(_shape)]
    batch_size: Count
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    layout: Literal["contiguous", "channels_last"] = "contiguous"
    direction: Literal["forward", "forward_backward", "eval"] = "forward_backward"
    threads: Annotated[int, Field(ge=1, le=1024)] = 1

    @model_validator(mode="after")
    def _layout_fits_the_shape(self) -> ThroughputSettings:
        if self.layout == "channels_last" and self.shape.count("x") not in (2, 3):
            raise SuiteError(
                f"layout channels_last needs 2 or 3 space axes, and shape {self.shape} has not", ("layout",)
            )
        return self

    def sizes(self) -> tuple[int, ...]:
        """Give the input's shape: (N, C, *space)."""
        return (self.batch_size, *(int(size) for size in self.shape.split("x")))


MEASURES: dict[str, type[Settings]] = {"accuracy": AccuracySettings, "throughput": ThroughputSettings}


def canonical_value(measure: str, key: str, value: object) -> str | int | float:
    """Give a value of one setting as cells have it: checked, in its one spelling.

    Raises:
        SuiteError: for a setting that the measure does not have, or a value that it does not take.

    """
    fields = MEASURES[measure].model_fields
    if key not in fields:
        raise SuiteError(f"unknown setting {key!r} of {measure}; {suggest(key, fields)}")
    try:
        checked = _only(measure, key).model_validate({key: value})
    except ValidationError as error:
        raise explain(error, lambda _: fields) from None
    return getattr(checked, key)  # type: ignore[no-any-return]  # every setting is one of the three


@functools.cache
def _only(measure: str, key: str) -> type[BaseModel]:
    """Make a model of one setting by itself, without the checks that compare it with others."""
    field = MEASURES[measure].model_fields[key]
    definition: dict[str, Any] = {key: (field.annotation, field)}
    return create_model(key, __config__=Settings.model_config, **definition)
