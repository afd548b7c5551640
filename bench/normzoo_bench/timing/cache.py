"""Emptying the last-level cache, so that a step finds its input in memory and not nearer."""

from __future__ import annotations

import re
from pathlib import Path

import torch

UNKNOWN = 64 * 2**20
"""Bytes that are taken for a cache whose size the system does not tell."""

_ON_A_GPU = 256 * 2**20, 8
"""Bytes, and how often they are written: about a millisecond, in which the step that comes next can be launched."""

_CPU = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


class Emptier:
    """Writes a buffer at least twice as large as the last-level cache: called, it leaves nothing else there."""

    def __init__(self, device: str) -> None:
        least, self.times = _ON_A_GPU if device == "cuda" else (0, 1)
        self._buffer = torch.empty(max(2 * cache_bytes(device), least), dtype=torch.uint8, device=device)

    def __call__(self) -> None:
        """Empty the cache; on a GPU the call returns before that is done, and what is launched next comes after."""
        for _ in range(self.times):
            self._buffer.zero_()


def cache_bytes(device: str, cpu: Path = _CPU) -> int:
    """Give the bytes of the last-level cache: of a GPU its L2, of a CPU the largest that the system lists."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).L2_cache_size)
    sizes = [_bytes(file.read_text(encoding="ascii")) for file in sorted(cpu.glob("index*/size"))]
    return max(sizes, default=UNKNOWN)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)([KMG]?)", text.strip())
    return int(found[1]) * _UNITS[found[2]] if found else UNKNOWN
