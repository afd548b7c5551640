"""The state of what is measured on: clocks, heat and power of a GPU, and what has taken time from a CPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

State = dict[str, Any]

REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""NVML's bits for why a GPU is slower than it could be. Idleness and chosen clocks slow nothing down unasked."""

_STOLEN_SHARE = 0.01
"""The share of a core's time that a host may take before a measurement counts as throttled."""


def state(device: str) -> State:
    """Read the state of a kind of device, ``cpu`` or ``cuda``.

    Of a GPU: ``sm_mhz``, ``memory_mhz``, ``watts``, ``celsius`` and ``slowed_by``, names of reasons. Of a CPU:
    ``load``, the processes that ran or waited in the last minute; ``stolen_s``, the seconds that a host has taken from
    this machine so far; ``quota_stops``, how often its container was stopped for having used up its quota. What the
    system does not tell is left out.
    """
    return (
        _gpu() if device == "cuda" else _cpu(Path("/proc/stat"), Path("/sys/fs/cgroup/cpu.stat")) | {"at": time.time()}
    )


def told(before: State, after: State) -> dict[str, Any]:
    """Give what a record keeps of the states around a measurement, with ``throttled``."""
    kept = [{key: value for key, value in one.items() if key != "at"} for one in (before, after)]
    return {"before": kept[0], "after": kept[1], "throttled": throttled(before, after)}


def throttled(before: State, after: State) -> bool:
    """Tell whether something slowed the device down meanwhile: a GPU's limits, a CPU's quota or its host."""
    if before.get("slowed_by") or after.get("slowed_by"):
        return True
    if _rise(before, after, "quota_stops") > 0:
        return True
    return _rise(before, after, "stolen_s") > _STOLEN_SHARE * _rise(before, after, "at")


def _rise(before: State, after: State, key: str) -> float:
    return float(after.get(key, 0)) - float(before.get(key, 0))


def _cpu(ticks: Path, quota: Path) -> State:
    found: State = {"load": round(os.getloadavg()[0], 2)} if hasattr(os, "getloadavg") else {}
    if ticks.exists():
        words = ticks.read_text(encoding="ascii").splitlines()[0].split()
        if len(words) > 8:  # user nice system idle iowait irq softirq steal
            found["stolen_s"] = int(words[8]) / os.sysconf("SC_CLK_TCK")
    if quota.exists():
        counts = dict(line.split() for line in quota.read_text(encoding="ascii").splitlines() if " " in line)
        if "nr_throttled" in counts:
            found["quota_stops"] = int(counts["nr_throttled"])
    return found


def _gpu() -> State:
    import pynvml

    pynvml.nvmlInit()
    try:
        # by its id: the number that torch knows it by counts visible devices only
        identity = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        return _read(pynvml, pynvml.nvmlDeviceGetHandleByUUID(identity))
    finally:
        pynvml.nvmlShutdown()


def _read(nvml: Any, handle: Any) -> State:
    asked: Mapping[str, Callable[[], Any]] = {
        "sm_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "memory_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        "watts": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
        "celsius": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        "slowed_by": lambda: reasons(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
    }
    found: State = {}
    for key, ask in asked.items():
        try:
            found[key] = ask()
        except nvml.NVMLError:  # some boards, and some virtual machines, do not tell
            continue
    return found


def reasons(bits: int) -> list[str]:
    """Name the reasons in NVML's bits."""
    return [name for bit, name in REASONS.items() if bits & bit]
