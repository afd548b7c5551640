"""The zoo: normalization layers behind one interface. Needs torch and nothing else of this project.

>>> import normzoo
>>> layer = normzoo.create("group_norm", 64, groups=8)
"""

from normzoo.norms._common import TooFewValuesError
from normzoo.registry import Card, NormalizerOptionError, UnknownNormalizerError, card, create, names, register

__all__ = [
    "Card",
    "NormalizerOptionError",
    "TooFewValuesError",
    "UnknownNormalizerError",
    "card",
    "create",
    "names",
    "register",
]
