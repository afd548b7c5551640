"""Which implementation may be used here."""

from __future__ import annotations

import functools
import importlib.util

import torch
from torch import Tensor
from torch.autograd import forward_ad


def is_transformed() -> bool:
    """Tell whether a compiler, a tracer or a torch.func transform wants operations that it can see through."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # public, but untyped
    return torch.compiler.is_compiling() or tracing or is_mapped()


def is_mapped() -> bool:
    """Tell whether a torch.func transform or forward-mode differentiation is at work."""
    # both private; a Function that transforms accept takes ten times as long to call
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def on_cuda_with_triton(x: Tensor) -> bool:
    """Tell whether Triton's kernels can take x."""
    return x.device.type == "cuda" and x.dtype != torch.float64 and x.numel() > 0 and has_triton()


@functools.cache
def has_triton() -> bool:
    """Tell whether Triton is installed, without importing it."""
    return importlib.util.find_spec("triton") is not None
