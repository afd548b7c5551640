"""What is put into a layer: the shapes of ResNet-50 and small ones, in every layout and dtype, and steps on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from normzoo_bench.speed.saved import saved_bytes
from normzoo_bench.timing import Clock, Pairs, Step, clock_of, time_pairs

Direction = Literal["forward", "forward_backward", "eval"]
Layout = Literal["contiguous", "channels_last"]

# what ResNet-50's norm layers see at 224 pixels
RESNET = [
    *("64x112x112", "64x56x56", "256x56x56", "128x28x28", "512x28x28"),
    *("256x14x14", "1024x14x14", "512x7x7", "2048x7x7"),
]
SMALL = ["16x8x8", "256"]
DTYPES = [torch.float32, torch.bfloat16]
LAYOUTS: tuple[Layout, ...] = ("contiguous", "channels_last")
PAIRS = 9, 31  # odd, so that a median is a sample: at least for a slow rival, at most for a quick one
SECONDS = 1.0  # per comparison, warm-up aside
LARGE_BYTES = 6e6  # from here on the goals hold; below, fixed costs weigh


@dataclass(frozen=True)
class Case:
    """One input: ``shape`` is C or CxHxW."""

    shape: str
    batch: int
    dtype: torch.dtype
    layout: Layout
    device: str

    @property
    def sizes(self) -> tuple[int, ...]:
        """(N, C, *space)."""
        return (self.batch, *map(int, self.shape.split("x")))

    @property
    def channels(self) -> int:
        """C."""
        return self.sizes[1]

    @property
    def bytes(self) -> int:
        """T, the size of the input."""
        return int(torch.Size(self.sizes).numel()) * self.dtype.itemsize

    @property
    def dtype_name(self) -> str:
        """The dtype's name alone, e.g. bfloat16."""
        return str(self.dtype).removeprefix("torch.")

    def told(self) -> dict[str, str | int | float]:
        """Give the case in the words of suites, for machines to read."""
        return {
            "shape": self.shape,
            "batch_size": self.batch,
            "dtype": self.dtype_name,
            "layout": self.layout,
            "device": self.device,
            "megabytes": self.bytes / 1e6,
        }

    def draw(self, seed: int) -> Tensor:
        """Draw normal noise in this form."""
        noise = torch.randn(self.sizes, generator=torch.Generator().manual_seed(seed)).to(self.device, self.dtype)
        return noise.contiguous(memory_format=torch.channels_last) if self.layout == "channels_last" else noise

    def clock(self) -> Clock:
        """Give the clock of the device, which waits for its work."""
        return clock_of(self.device)


def cases(shapes: list[str], batch: int, device: str) -> list[Case]:
    """Give every shape × dtype × layout; without space there is one layout."""
    return [
        Case(shape, batch, dtype, layout, device)
        for shape in shapes
        for dtype in DTYPES
        for layout in LAYOUTS
        if "x" in shape or layout == "contiguous"
    ]


def step_of(layer: nn.Module, case: Case, direction: Direction) -> Step:
    """Give one step of a layer, to be timed; its input is made here.

    The gradient has the layout of the layer's output, as the gradient of a following layer would. Parameters and input
    want gradients in training, so that all that backward needs is saved.
    """
    x = case.draw(0).requires_grad_(direction != "eval")
    layer.train(direction != "eval")
    if direction == "eval":
        return torch.inference_mode()(lambda: layer(x))
    if direction == "forward":
        return lambda: layer(x)
    y = layer(x)
    gradient, wanted = case.draw(1).to(y.dtype), [x, *parameters(layer)]
    gradient = torch.empty_like(y).copy_(gradient)
    return lambda: torch.autograd.grad(layer(x), wanted, gradient)


def parameters(layer: nn.Module) -> list[nn.Parameter]:
    """Give weight and bias; every implementation has them by these names."""
    return [layer.weight, layer.bias]  # type: ignore[list-item]  # a module's attributes have no narrower type


def saved(layer: nn.Module, case: Case) -> float:
    """Give what a training step keeps for backward, in inputs (T): see ``saved_bytes``."""
    x = case.draw(0).requires_grad_()
    return saved_bytes(lambda: layer.train()(x), layer) / case.bytes


def paired(candidate: Step, rival: Step, clock: Clock) -> Pairs:
    """Time two steps in turn, as often as fits ``SECONDS``, an odd number of times within ``PAIRS``."""
    clock(candidate, 1), clock(rival, 1)
    fit = int(SECONDS * 1e3 / (clock(candidate, 1) + clock(rival, 1)))
    return time_pairs(candidate, rival, clock, min(max(fit, PAIRS[0]), PAIRS[1]) | 1)
