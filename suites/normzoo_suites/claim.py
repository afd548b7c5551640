"""A claim: what people say, as something that can turn out false."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from normzoo_suites.errors import SuiteError, show
from normzoo_suites.metrics import measure_of
from normzoo_suites.settings import canonical_side
from normzoo_suites.values import TABLE, Name, Text, Value


class Term(NamedTuple):
    """One term of a claim: the metric's sign, its name, and the settings that name a cell per seed."""

    sign: int
    metric: str
    settings: dict[str, Value]


class Published(BaseModel):
    """What a source reports of a claim: the same difference, on other data. It is shown beside the measured one.

    Attributes:
        effect: the source's value of plus less minus, in the metric's unit (0.111 is 11.1 points of accuracy).
        on: the data, the model and the condition.
        grade: ``primary`` was read in the source itself, ``figure`` off a figure of it, ``transcribed`` elsewhere.

    """

    model_config = TABLE

    effect: Annotated[float, Field(allow_inf_nan=False)]
    on: Text
    grade: Literal["primary", "figure", "transcribed"]


class Claim(BaseModel):
    """One number per seed, the metric summed over ``plus`` less that over ``minus``, held against a margin.

    ``higher`` claims that its mean is above ``margin``; ``equal`` that it lies within ± ``margin``. A side that names a
    ``metric`` of its own takes that one.
    """

    model_config = TABLE

    id: Name
    says: Text
    source: Text
    metric: str
    plus: Annotated[list[dict[str, Value]], Field(min_length=1)]
    minus: Annotated[list[dict[str, Value]], Field(min_length=1)]
    is_: Annotated[Literal["higher", "equal"], Field(alias="is")]
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    published: Published | None = None

    @property
    def terms(self) -> list[Term]:
        """The claim's terms, those of ``plus`` first."""
        signed = [(1, side) for side in self.plus] + [(-1, side) for side in self.minus]
        return [
            Term(sign, str(side.get("metric", self.metric)), {key: side[key] for key in side if key != "metric"})
            for sign, side in signed
        ]

    @property
    def compares_levels(self) -> bool:
        """Whether it compares accuracies of normalizers at one condition, which only tuned ones can stand.

        A time depends on no learning rate.
        """
        if self.measure != "accuracy":
            return False
        balance: Counter[object] = Counter()
        for term in self.terms:
            balance[term.settings.get("normalizer")] += term.sign
        return any(balance.values())

    @property
    def measure(self) -> str | None:
        """The measure that gives the metric, or None for a metric that no measure gives."""
        return measure_of(self.metric)

    @field_validator("plus", "minus")
    @classmethod
    def _sides_in_one_spelling(cls, sides: list[dict[str, Value]], info: ValidationInfo) -> list[dict[str, Value]]:
        measure = measure_of(info.data.get("metric", ""))
        return [canonical_side(measure, side.items(), (number,)) for number, side in enumerate(sides)]

    @model_validator(mode="after")
    def _can_be_asked(self) -> Claim:
        if self.is_ == "equal" and self.margin == 0:
            raise SuiteError(
                f"the claim {show(self.id)} says equal with margin 0, which no measurement can support", ("is",)
            )
        if self.published and "accuracy" in self.metric and abs(self.published.effect) > 1:
            raise SuiteError(
                f"the claim {show(self.id)}: a published effect on accuracy is a difference from -1 to 1 (0.106 is "
                f"10.6 points), got {self.published.effect:g}",
                ("published", "effect"),
            )
        if len(self.plus) != len(self.minus):
            raise SuiteError(f"the claim {show(self.id)} needs as many plus as minus, so that levels cancel", ("plus",))
        return self
