"""Which cases a session of `pytest bench/` runs, by its options."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from cases import RESNET, SMALL, Case, cases

DEVICE: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
SOME = ["64x56x56", "16x8x8"]


def selected(config: pytest.Config, some: list[str]) -> list[Case]:
    """Give the cases of ``--shapes``, or all with ``--full``, else of ``some``.

    Raises:
        pytest.UsageError: for a shape that is none, or a batch that is no batch.

    """
    chosen = str(config.getoption("--shapes"))
    shapes = chosen.split(",") if chosen else [*RESNET, *SMALL] if config.getoption("--full") else some
    for shape in shapes:
        if shape.count("x") not in (0, 2) or not all(part.isdecimal() and int(part) for part in shape.split("x")):
            raise pytest.UsageError(f"a shape is C or CxHxW, as in 256 or 64x56x56, got {shape!r}")
    return cases(shapes, batch_size(config), DEVICE)


def batch_size(config: pytest.Config) -> int:
    """Give the samples per step.

    Raises:
        pytest.UsageError: below 2, where there is no batch statistic.

    """
    given = config.getoption("--batch-size")
    if given is None:
        return 256 if DEVICE == "cuda" else 32
    if given < 2:
        raise pytest.UsageError(f"--batch-size needs 2 samples or more, got {given}")
    return int(given)


def identify(case: Case) -> str:
    """Name a case in a test's id."""
    return f"{case.dtype_name}-{case.layout}-{case.shape}"
