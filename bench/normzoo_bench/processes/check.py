"""What of ``ranks_backend = "process"`` can be known to be impossible before anything is trained."""

from __future__ import annotations

import torch
import torch.distributed as dist

from normzoo_bench.errors import UsageError
from normzoo_bench.processes import machines
from normzoo_suites.settings import AccuracySettings


def check(settings: AccuracySettings) -> None:
    """Require that this cell's ranks can be processes here, where they are to be; raises UsageError."""
    if settings.ranks_backend == "process":
        _check_settings(settings)
        _check_library(settings.device)
        _check_devices(settings)
    machines.check(settings)


def _check_settings(settings: AccuracySettings) -> None:
    if settings.ranks == 1:
        raise _refusal("needs more than one rank, got ranks = 1; use ranks = 2 or more")
    if settings.local_epochs:
        raise _refusal(
            f"averages gradients in every step, got local_epochs = {settings.local_epochs}; use local_epochs = 0"
        )
    if settings.data == "stream":
        raise _refusal('needs data on every rank\'s device, got data = "stream"; use data = "resident"')


def _check_library(device: str) -> None:
    if not dist.is_available():
        raise _refusal("needs torch.distributed, and this torch has none; use another build of torch")
    library, have = ("NCCL", dist.is_nccl_available()) if device == "cuda" else ("gloo", dist.is_gloo_available())
    if not have:
        raise _refusal(f"needs {library} on {device}, and this torch has none; use another build of torch")


def _check_devices(settings: AccuracySettings) -> None:
    if settings.device != "cuda":
        return
    have, here = torch.cuda.device_count(), machines.ranks_here() or settings.ranks
    if here > have:
        fewer = f"at most {have} ranks" if have > 1 else "device cpu"
        raise _refusal(
            f"has one GPU per rank, and there are {have} for {here} ranks; use {fewer}, several machines "
            "(torchrun: see bench/README.md)"
        )


def _refusal(what: str) -> UsageError:
    return UsageError(f'ranks_backend = "process" {what}, or ranks_backend = "virtual", which computes the same')
