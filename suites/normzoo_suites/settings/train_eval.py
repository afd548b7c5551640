"""The settings of ``train_eval``: a trained net that is tested in training mode, on images as trained or shifted."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from normzoo_suites.errors import SuiteError
from normzoo_suites.fields import Count
from normzoo_suites.settings.training import TrainingSettings


class TrainEvalSettings(TrainingSettings):
    """A trained net whose ``eval()`` is forgotten for one pass over the test part.

    Attributes:
        test_batch_size: samples of a test batch.
        composition: of the test batches: ``iid``; ``one_class`` each, in random order; ``class_ordered``, the test part
            sorted by class and cut into batches; ``duplicates``, one sample repeated.
        shift: what has become of the test images.
        strength: of the shift; 0 leaves them as they are.
        statistics: with which the net comes to the test: as ``trained``, or ``recalibrated`` on the shifted test
            images, whose labels are not looked at.

    """

    READ_AFTERWARDS: ClassVar[frozenset[str]] = frozenset(
        {"test_batch_size", "composition", "shift", "strength", "statistics"}
    )
    METRICS: ClassVar[tuple[str, ...]] = (
        "shifted_accuracy",
        "forgotten_eval_accuracy",
        "forgotten_eval_drop",
        "eval_accuracy_afterwards",
        "moved_statistics",
    )

    test_batch_size: Count = 64
    composition: Literal["iid", "one_class", "class_ordered", "duplicates"] = "iid"
    shift: Literal["none", "noise", "blur", "contrast"] = "none"
    strength: Annotated[int, Field(ge=0, le=5)] = 0
    statistics: Literal["trained", "recalibrated"] = "trained"

    @model_validator(mode="after")
    def _a_strength_is_of_a_shift(self) -> TrainEvalSettings:
        if self.strength and self.shift == "none":
            raise SuiteError(
                f'strength is of a shift, such as shift = "noise"; got strength = {self.strength} and shift = "none"',
                ("strength",),
            )
        return self
