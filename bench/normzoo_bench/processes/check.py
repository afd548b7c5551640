"""What of ranks as processes can be known to be impossible before any is started."""

from __future__ import annotations

import torch
import torch.distributed as dist

from normzoo_bench.errors import UsageError
from normzoo_bench.processes import machines
from normzoo_bench.processes.work import Asked
from normzoo_suites.settings import AccuracySettings


def check(settings: Asked, elsewhere: bool = False) -> None:
    """Require that this cell's ranks are where they are to be; raises UsageError.

    What a machine lacks is no mistake in a cell that is about processes: it is skipped, with what ``lacking`` says.
    """
    if isinstance(settings, AccuracySettings) and settings.ranks_backend == "process":
        _check_settings(settings)
        if not elsewhere and (reason := lacking(settings)):
            raise _refusal(reason)
    machines.check(settings)


def lacking(settings: Asked) -> str | None:
    """Say what is lacking here for a process per rank: a library, or GPUs; or give None."""
    return _library(settings.device) or _gpus(settings)


def _check_settings(settings: AccuracySettings) -> None:
    if settings.ranks == 1:
        raise _refusal("needs more than one rank, got ranks = 1; use ranks = 2 or more")
    if settings.local_epochs:
        raise _refusal(
            f"averages gradients in every step, got local_epochs = {settings.local_epochs}; use local_epochs = 0"
        )
    if settings.data == "stream":
        raise _refusal('needs data on every rank\'s device, got data = "stream"; use data = "resident"')


def _library(device: str) -> str | None:
    if not dist.is_available():
        return "needs torch.distributed, and this torch has none; use another build of torch"
    library, have = ("NCCL", dist.is_nccl_available()) if device == "cuda" else ("gloo", dist.is_gloo_available())
    return None if have else f"needs {library} on {device}, and this torch has none; use another build of torch"


def _gpus(settings: Asked) -> str | None:
    if settings.device != "cuda":
        return None
    have, here = torch.cuda.device_count(), machines.ranks_here() or settings.ranks
    if here <= have:
        return None
    fewer = f"at most {have} ranks" if have > 1 else "device cpu"
    return (
        f"has one GPU per rank, and there are {have} for {here} ranks; use {fewer}, several machines "
        "(torchrun: see bench/README.md)"
    )


def _refusal(what: str) -> UsageError:
    return UsageError(f'ranks_backend = "process" {what}, or ranks_backend = "virtual", which computes the same')
