"""The zoo: normalization layers behind one interface. Needs torch and nothing else of this project.

>>> import normzoo
>>> layer = normzoo.create("group_norm", 64, groups=8)
"""

from normzoo.convert import CannotConvertError, convert
from normzoo.norms._common import TooFewValuesError, keep_buffers_wide
from normzoo.plugins import PluginError, load_entry_points
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
    "Card",
    "NormalizerOptionError",
    "PluginError",
    "TooFewValuesError",
    "UnknownNormalizerError",
    "card",
    "check_options",
    "convert",
    "create",
    "keep_buffers_wide",
    "names",
    "register",
]

load_entry_points()
