"""``timm/NAME``: every model that timm has."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from normzoo_bench.errors import UsageError
from normzoo_bench.models.registry import Shape
from normzoo_suites.errors import show


def hint(name: str) -> str:
    """Say that timm has a model of a name that was written without ``timm/``, or nothing."""
    import timm

    return f"; timm has one: timm/{name}" if timm.is_model(name) else ""


def build_from_timm(name: str, shape: Shape, classes: int) -> nn.Module:
    """Build timm's model of this name for images of (C, H, W), with fresh weights.

    Raises:
        UsageError: for an unknown name, or a model that cannot be built for such images.

    """
    import timm  # seconds to import, and only timm's own models need it

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {', '.join('timm/' + one for one in near)}?" if near else "timm.list_models() names all"
        raise UsageError(f"timm has no model {show(name)}; {hint}")
    options: dict[str, Any] = {"num_classes": classes, "in_chans": shape[0]}
    # models of a fixed input size must be told it; the others do not know the option
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
        if config is not None and config.fixed_input_size:
            options["img_size"] = shape[1]
        model: nn.Module = timm.create_model(name, **options)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        size = "x".join(map(str, shape))
        raise UsageError(f"timm/{name} cannot be built for {size} images: {error}; try dataset=…(size=224)") from error
    return model
