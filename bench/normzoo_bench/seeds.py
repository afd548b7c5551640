"""Random streams: one per seed and purpose, so that a draw for one purpose never shifts another."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Give the generator of one purpose under one seed; the same on every machine."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def torch_seed(seed: int, purpose: str) -> int:
    """Give a number for ``torch.manual_seed`` of one purpose under one seed."""
    return int(stream(seed, purpose).integers(2**62))
