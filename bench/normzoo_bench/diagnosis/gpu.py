"""Whether the GPUs of this machine can be used, and are free; what torch sees is asked of a child, see ``imported``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normzoo_bench.diagnosis.finding import GB, Finding, Level, size

LITTLE, TOO_LITTLE = 2 * GB, GB // 2
"""Free memory of a GPU, in bytes: below the first few models fit, below the second not even CUDA and a small one."""

_CPU = "or measure on the CPU: --device cpu"


@dataclass(frozen=True)
class Card:
    """A GPU as its driver tells it; ``others`` are the processes on it. Memory is in bytes."""

    name: str
    uuid: str
    free: int
    total: int
    others: int


@dataclass(frozen=True)
class Driver:
    """What the driver tells: its version, the newest CUDA that it knows, as 13.0, and the GPUs; or why it is silent."""

    version: str = ""
    cuda: str = ""
    cards: tuple[Card, ...] = ()
    silent: str = ""


def driver() -> Driver:
    """Ask NVIDIA's driver, without torch."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Driver(silent=str(error))
    try:
        newest = pynvml.nvmlSystemGetCudaDriverVersion()
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        cards = tuple(_card(pynvml, handle) for handle in handles)
        return Driver(str(pynvml.nvmlSystemGetDriverVersion()), f"{newest // 1000}.{newest % 1000 // 10}", cards)
    finally:
        pynvml.nvmlShutdown()


def _card(nvml: Any, handle: Any) -> Card:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    try:
        others = len(nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    except nvml.NVMLError:  # some virtual machines do not tell
        others = 0
    names = (str(nvml.nvmlDeviceGetName(handle)), str(nvml.nvmlDeviceGetUUID(handle)))
    return Card(*names, int(memory.free), int(memory.total), others)


def find(seen: Mapping[str, Any], told: Driver, wanted: bool, on_bus: bool) -> Iterator[Finding]:
    """Hold what torch sees against what the driver tells.

    Args:
        seen: what ``imported`` says of CUDA.
        told: what the driver says.
        wanted: whether the run asks for a GPU, so that what is wrong with one is a fault.
        on_bus: whether a GPU of NVIDIA's is built in, driver or not.

    """
    bad: Level = "fault" if wanted else "warning"
    if seen.get("error"):
        yield Finding("GPU", bad, f"torch cannot be asked for GPUs: {seen['error']}", f"see to the driver, {_CPU}")
    elif seen.get("available"):
        yield from _usable(seen, told, bad)
    elif told.cards:
        yield Finding("GPU", bad, *_unusable(seen, told))
    elif on_bus:
        found = f"an NVIDIA GPU is built in, and its driver does not answer ({told.silent or 'it names no GPU'})"
        yield Finding("GPU", bad, found, f"install or load NVIDIA's driver, or give the container its GPUs, {_CPU}")
    elif wanted:
        yield Finding("GPU", "fault", "there is none, and one is asked for", "measure on the CPU: --device cpu")
    else:
        yield Finding("GPU", "good", "there is none; a run measures on the CPU")


def _unusable(seen: Mapping[str, Any], told: Driver) -> tuple[str, str]:
    """Say why torch sees none of the driver's GPUs, and what to do."""
    build, there = f"torch {seen.get('torch', '')}", f"{told.cards[0].name} is there"
    if not seen.get("cuda"):
        return f"{there}, and {build} was built without CUDA", f"install torch's build for CUDA (pytorch.org), {_CPU}"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return f"{there}, and CUDA_VISIBLE_DEVICES={hidden!r} hides it", f"unset CUDA_VISIBLE_DEVICES, {_CPU}"
    if told.cuda and _major(told.cuda) < _major(seen["cuda"]):  # within one major version newer builds run, too
        newest = f"driver {told.version} knows CUDA up to {told.cuda}"
        do = f"update the driver, or install a torch that was built for CUDA {_major(told.cuda)}, {_CPU}"
        return f"{there}, {newest}, and {build} was built for CUDA {seen['cuda']}", do
    said = f": {'; '.join(seen['warned'])}" if seen.get("warned") else f" (driver {told.version}, CUDA {seen['cuda']})"
    return f"{there}, and {build} cannot use it{said}", f"see to the driver, {_CPU}"


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _usable(seen: Mapping[str, Any], told: Driver, bad: Level) -> Iterator[Finding]:
    for device in seen["devices"]:
        if device["error"]:
            do = f"install a torch that fits the GPU and its driver, {_CPU}"
            yield Finding("GPU", bad, f"{device['name']} cannot compute: {device['error']}", do)
    known = {card.uuid: card for card in told.cards}
    own = [known[uuid] for device in seen["devices"] if (uuid := f"GPU-{device['uuid']}") in known]
    yield from _free(own or told.cards, bad)
    names = ", ".join(device["name"] for device in seen["devices"] if not device["error"])
    built = f"CUDA {seen['cuda']}" if seen.get("cuda") else f"ROCm {seen.get('hip')}"
    if names:
        yield Finding("GPU", "good", f"{names}; torch for {built}" + (f", driver {told.version}" * bool(told.version)))
    if not seen["triton"]:
        found = "triton is not installed, which layers and compiled models on a GPU compute with"
        yield Finding("GPU", bad, found, "pip install triton")


def _free(cards: Iterable[Card], bad: Level) -> Iterator[Finding]:
    for card in cards:
        found = f"{card.name}: {size(card.free)} of {size(card.total)} are free"
        if card.free < TOO_LITTLE:
            yield Finding(
                "GPU memory", bad, found, f"end what uses it (nvidia-smi lists it), or choose another GPU, {_CPU}"
            )
        elif card.free < LITTLE:
            yield Finding("GPU memory", "warning", found, "end what uses it: nvidia-smi lists it")
        else:
            yield Finding("GPU memory", "good", found)
        if card.others:
            found = (
                f"{card.others} other process{'es' * (card.others > 1)} on {card.name}: times would not be comparable"
            )
            yield Finding("GPU memory", "warning", found, "wait for them, or choose another with CUDA_VISIBLE_DEVICES")


def built_in(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Tell whether NVIDIA's graphics are on the bus, whatever their driver says; where the system does not tell, no."""
    return any(
        _read(device / "vendor") == "0x10de" and _read(device / "class").startswith("0x03")
        for device in (devices.iterdir() if devices.is_dir() else ())
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
