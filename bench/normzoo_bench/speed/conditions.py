"""Under which conditions a time was taken: what a hostile reader would ask about."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


def of_switches(device: str) -> dict[str, Any]:
    """Give the switches of this process that change what runs: torch's, and timm's fused norms where it is loaded."""
    found: dict[str, Any] = {"float32_matmul_precision": torch.get_float32_matmul_precision()}
    if device == "cuda":
        found |= {
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
            "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        }
    if timm_norms := sys.modules.get("timm.layers.fast_norm"):
        found["timm_fast_norm"] = timm_norms.is_fast_norm()
    return found


def require_as_set(threads: int) -> None:
    """Raise RuntimeError where a normalizer has changed how this process computes: batch norm was timed so, too."""
    now = torch.get_num_threads(), torch.get_default_dtype()
    if now != (threads, torch.float32):
        raise RuntimeError(
            f"a normalizer has changed the process: {now[0]} thread(s) and {now[1]} by default, where {threads} and "
            "torch.float32 were set"
        )


def of_output(y: Tensor) -> dict[str, Any]:
    """Give an output's dtype and how it lies in memory."""
    return {"output_dtype": str(y.dtype).removeprefix("torch."), "output_layout": layout(y)}


def layout(x: Tensor) -> str:
    """Name how a tensor of (N, C, *space) lies in memory; of shapes that lie alike either way, ``contiguous``."""
    if x.is_contiguous():
        return "contiguous"
    moved = x.movedim(1, -1)
    return "channels_last" if moved.is_contiguous() else f"strides {tuple(x.stride())}"


def batch_norm_backend(x: Tensor, training: bool) -> str:
    """Name the backend that torch's own batch norm takes for such an input: Native, Cudnn or Miopen."""
    select = getattr(torch._C, "_select_batch_norm_backend", None)  # torch tells it nowhere else
    if select is None:
        return "not told"
    of_channel = [torch.ones(x.shape[1], device=x.device) for _ in range(4)]
    return str(select(x.detach(), *of_channel, training, 1e-5)).rpartition(".")[2]


def kernels(step: Callable[[], object]) -> int:
    """Count the kernels, copies and fills that a step launches on the GPU, graphs included."""
    from torch.profiler import ProfilerActivity, profile

    step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        step()
        torch.cuda.synchronize()
    return on_the_gpu(seen.profiler.kineto_results.events())


def on_the_gpu(events: Iterable[Any]) -> int:
    """Count the events of a profile that are work of a GPU; spans with a mere name, as of optimizers, are not."""
    return sum(event.device_type().name == "CUDA" and not event.is_user_annotation() for event in events)


def norm_dtypes(model: nn.Module, norms: type[nn.Module], step: Callable[[], object]) -> dict[str, int]:
    """Count how the norms of a model change dtypes in one step, as autocast has it: "bfloat16 to float32"."""
    seen: dict[str, int] = {}

    def look(_layer: nn.Module, args: tuple[Any, ...], y: Tensor) -> None:
        words = [str(one.dtype).removeprefix("torch.") for one in (args[0], y)]
        key = " to ".join(words)
        seen[key] = seen.get(key, 0) + 1

    hooks = [layer.register_forward_hook(look) for layer in model.modules() if isinstance(layer, norms)]
    try:
        step()
    finally:
        for hook in hooks:
            hook.remove()
    return seen
