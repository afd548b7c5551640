"""In a child: imports what every run imports, and tries the GPUs."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from normzoo_bench.diagnosis.finding import told

CUDA = "cuda"
"""Of what is asked: not a module, but what torch sees of GPUs."""


def answers(asked: list[str]) -> Iterator[dict[str, Any]]:
    """Try these modules in turn; say of each what its import raised, if anything, and of CUDA what torch sees.

    It ends with a torch that cannot be imported.
    """
    for name in asked:
        said: dict[str, Any] = {"name": name, "error": ""}
        try:
            if name == CUDA:
                said |= _seen()
            else:
                importlib.import_module(name)
        except (Exception, SystemExit) as error:  # an import can raise anything
            said["error"] = told(error)
        yield said
        if name == "torch" and said["error"]:
            return  # all others would fail for that reason, each in words of its own


def _seen() -> dict[str, Any]:
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()  # which warns where a driver does not fit
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        "hip": torch.version.hip or "",
        "available": available,
        "warned": [" ".join(str(warning.message).split()) for warning in caught],
        "triton": find_spec("triton") is not None,
        "devices": [_tried(number) for number in range(torch.cuda.device_count())] if available else [],
    }


def _tried(number: int) -> dict[str, str]:
    """Let a device compute: a build without its code, or a device that is beyond help, shows only then."""
    import torch

    try:
        known = torch.cuda.get_device_properties(number)
        said = {"name": known.name, "uuid": str(getattr(known, "uuid", "")), "error": ""}
        if float(torch.ones(8, device=f"cuda:{number}").sum()) != 8:
            raise ArithmeticError("the sum of eight ones is not 8")
    except Exception as error:
        return {"name": f"GPU {number}", "uuid": "", "error": told(error)}
    return said
