"""The zoo: normalization layers behind one interface. Needs torch and nothing else of this project.

>>> import normzoo
>>> layer = normzoo.create("group_norm", 64, groups=8)
"""

from normzoo.convert import CannotConvertError, convert
from normzoo.kernels.recompute import Corrections, is_recomputing, move_once
from normzoo.norms._common import TooFewValuesError, keep_buffers_wide
from normzoo.plugins import PluginError, load_entry_points
from normzoo.population import CannotRecalibrateError, recalibrate
from normzoo.registry import (
    Card,
    NormalizerOptionError,
    UnknownNormalizerError,
    card,
    check_options,
    create,
    names,
    register,
)

__all__ = [
    "CannotConvertError",
    "CannotRecalibrateError",
    "Card",
    "Corrections",
    "NormalizerOptionError",
    "PluginError",
    "TooFewValuesError",
    "UnknownNormalizerError",
    "card",
    "check_options",
    "convert",
    "create",
    "is_recomputing",
    "keep_buffers_wide",
    "move_once",
    "names",
    "recalibrate",
    "register",
]

load_entry_points()
