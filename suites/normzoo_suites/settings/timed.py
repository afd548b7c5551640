"""The settings of what is timed or weighed: a layer, a model's step, its memory, and ranks that wait for each other."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from normzoo_suites.errors import SuiteError
from normzoo_suites.fields import LARGEST, Count, Shape
from normzoo_suites.settings.base import Settings, divisors

Layout = Literal["contiguous", "channels_last"]
Precision = Literal["float32", "bfloat16"]
Mode = Literal["eager", "compiled", "captured"]


def _timed(name: str) -> tuple[str, ...]:
    """Name a time, its ratio to batch norm's in pairs, and the 10th and 90th percentile of both."""
    spread = (f"{which}{end}" for which in (name, f"{name}_ratio") for end in ("", "_p10", "_p90"))
    return (*spread, f"batch_norm_{name}")


class TimedSettings(Settings):
    """What is timed: by how many CPU threads, and in which fresh process.

    Attributes:
        threads: CPU threads.
        repeat: the number of the process that this is measured in; processes, not iterations, are what claims rest on.

    """

    REPLICATES: ClassVar[Literal["seed", "repeat"]] = "repeat"

    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    repeat: Annotated[int, Field(ge=0, le=LARGEST)] = 0


class ThroughputSettings(TimedSettings):
    """The time of one layer.

    Attributes:
        shape: C or CxL, CxHxW, CxDxHxW.
        batch_size: N.
        dtype: of the input; parameters are float64 for float64, else float32.
        layout: of the input in memory; ``channels_last`` with one space axis is how tokens lie, [N, L, C].
        direction: ``forward`` in training mode, with what backward needs kept; with ``backward``; or ``eval``.
        mode: ``eager``, ``compiled`` by torch.compile, or ``captured``, a CUDA graph that is replayed.
        cache: ``hot``, the step repeated as it is, or ``cold``, the last-level cache emptied before every step.

    """

    METRICS: ClassVar[tuple[str, ...]] = (
        *_timed("step_ms"),
        "images_per_s",
        "share_of_limit",
        "fewest_mb",
        "copy_gb_per_s",
        "saved_t",
        "kernels",
        "graph_breaks",
        "error_vs_float64",
    )

    shape: Shape
    batch_size: Count
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    layout: Layout = "contiguous"
    direction: Literal["forward", "forward_backward", "eval"] = "forward_backward"
    mode: Mode = "eager"
    cache: Literal["hot", "cold"] = "hot"

    @model_validator(mode="after")
    def _layout_fits_the_shape(self) -> ThroughputSettings:
        if self.layout == "channels_last" and "x" not in self.shape:
            raise SuiteError(f"layout channels_last needs space axes, and shape {self.shape} has none", ("layout",))
        return self

    def sizes(self) -> tuple[int, ...]:
        """Give the input's shape: (N, C, *space)."""
        return (self.batch_size, *(int(size) for size in self.shape.split("x")))


class _ModelSettings(TimedSettings):
    """A model whose norms are all one normalizer, and what is fed to it.

    Attributes:
        model: a built-in model, or ``timm/NAME``.
        batch_size: images per step, all ranks together.
        image_size: pixels of each edge; images have three channels, and there are 1,000 classes.
        precision: ``bfloat16`` is autocast.
        layout: of images and weights in memory.

    """

    model: Annotated[str, Field(min_length=1)]
    batch_size: Count
    image_size: Annotated[int, Field(ge=1, le=65536)] = 224
    precision: Precision = "float32"
    layout: Layout = "contiguous"


class ModelThroughputSettings(_ModelSettings):
    """The time of one step of a model.

    Attributes:
        phase: ``training`` (forward, backward and an SGD step), ``inference``, or ``folded``: inference with every norm
            folded into the convolution before it, as deployments do with batch norm.
        mode: ``eager``, ``compiled`` or ``captured``; see ``ThroughputSettings``.

    """

    METRICS: ClassVar[tuple[str, ...]] = (
        *_timed("model_step_ms"),
        "model_images_per_s",
        "model_kernels",
        "model_graph_breaks",
        "model_error_vs_float64",
    )

    phase: Literal["training", "inference", "folded"] = "training"
    mode: Mode = "eager"


class MemorySettings(_ModelSettings):
    """The memory of one step of a model, above the model itself, its optimizer and the images.

    Attributes:
        phase: ``training`` or ``inference``.
        mode: ``eager`` or ``compiled``.
        find: the ``peak`` of a step of ``batch_size``, or the ``largest_batch`` that fits, from there on by bisection.
        limit_mib: what has to hold the whole of it when the largest batch is looked for; 0 is the device's memory.

    """

    METRICS: ClassVar[tuple[str, ...]] = ("peak_mib", "saved_mib", "model_mib", "largest_batch")

    phase: Literal["training", "inference"] = "training"
    mode: Literal["eager", "compiled"] = "eager"
    find: Literal["peak", "largest_batch"] = "peak"
    limit_mib: Annotated[int, Field(ge=0, le=LARGEST)] = 0

    @model_validator(mode="after")
    def _something_ends_the_search(self) -> MemorySettings:
        if self.limit_mib and self.find == "peak":
            raise SuiteError(
                'limit_mib ends the search for the largest batch; it needs find = "largest_batch" (of the suite memory '
                "ask one of the two: --set find=largest_batch --set limit_mib=N, or --set find=peak --set limit_mib=0)",
                ("limit_mib",),
            )
        if self.find == "largest_batch" and self.device == "cpu" and not self.limit_mib:
            raise SuiteError(
                "the largest batch on a CPU would be the one that fills the machine; name a limit_mib to hold it",
                ("limit_mib",),
            )
        return self


class SyncCostSettings(_ModelSettings):
    """The time of one data-parallel training step of real processes, and what of it they spend in collectives.

    Attributes:
        ranks: processes; ``local_batch`` = batch_size / ranks.

    """

    METRICS: ClassVar[tuple[str, ...]] = (
        *_timed("sync_step_ms"),
        "sync_images_per_s",
        "collectives",
        "collective_ms",
        "batch_norm_collectives",
        "batch_norm_collective_ms",
    )

    ranks: Count = 1

    @model_validator(mode="after")
    def _ranks_divide_the_batch(self) -> SyncCostSettings:
        if self.batch_size % self.ranks:
            near = min(divisors(self.batch_size), key=lambda n: abs(math.log(n / self.ranks)))
            raise SuiteError(
                f"ranks must divide batch_size, and {self.ranks} does not divide {self.batch_size}; the nearest that "
                f"does: {near}",
                ("ranks",),
            )
        return self

    @property
    def local_batch(self) -> int:
        """Samples of each rank."""
        return self.batch_size // self.ranks
