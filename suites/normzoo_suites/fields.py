"""The types that settings are made of: each a range and, for texts, one canonical spelling."""

from __future__ import annotations

import functools
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainValidator

from normzoo_suites.calls import parse_call

LARGEST = 2**31 - 1
LARGEST_RATE = 1e30  # what float32 can multiply with


@functools.lru_cache(maxsize=1024)  # as of parse_call
def _canonical(text: str) -> str:
    return str(parse_call(text))


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LARGEST_RATE


def _rate(given: object) -> float | str:
    call = parse_call(given) if isinstance(given, str) else None
    numbers = [call.options.get("rate"), call.options.get("per")] if call else [given]
    shape_fits = call is None or (call.name == "linear" and set(call.options) == {"rate", "per"})
    if not shape_fits or not all(_positive(number) for number in numbers):
        raise ValueError("must be a number above 0, or linear(rate=…, per=…) of such numbers")
    return str(call) if call else float(given)  # type: ignore[arg-type]  # _positive has seen that it is a number


def _samples(given: object) -> int | Literal["all"]:
    if given == "all":
        return "all"
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= LARGEST:
        return given
    raise ValueError('must be a whole number from 1, or "all"')


_SHAPE = re.compile(r"[1-9][0-9]{0,5}(x[1-9][0-9]{0,5}){0,3}")


def _shape(text: str) -> str:
    if not _SHAPE.fullmatch(text):
        raise ValueError("must be channels and 0 to 3 space axes, such as 64x56x56")
    return text


def _counting(text: str) -> str:
    call = parse_call(text)
    steps = call.name == "steps" and not call.options
    samples = call.name == "samples" and set(call.options) == {"per"} and _positive(call.options["per"])
    if not (steps or samples):
        raise ValueError("must be steps, or samples(per=N) with the batch size N that momentum is meant for")
    return str(call)


CallText = Annotated[str, AfterValidator(_canonical)]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Samples = Annotated[int | Literal["all"], PlainValidator(_samples)]
Rate = Annotated[float | str, PlainValidator(_rate)]
Shape = Annotated[str, AfterValidator(_shape)]
Counting = Annotated[str, AfterValidator(_counting)]
Share = Annotated[float, Field(ge=0, lt=1), AfterValidator(abs)]  # abs: -0.0 is 0.0
Gain = Annotated[float, Field(gt=0, le=LARGEST_RATE, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, le=LARGEST_RATE, allow_inf_nan=False), AfterValidator(abs)]
