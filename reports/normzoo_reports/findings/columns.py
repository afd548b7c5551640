"""What stands in the tables of what was timed or weighed: by measure, its words and its columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from normzoo_reports import words


@dataclass(frozen=True)
class Column:
    """A column: its head, its metric, and how the values of all repeats are shown; none is a dash."""

    head: str
    metric: str
    show: Callable[[pd.Series], str]

    def text(self, values: pd.Series) -> str:
        """Show the values of one row."""
        return self.show(values) if len(values) else "–"


@dataclass(frozen=True)
class Asked:
    """A measure.

    Attributes:
        title: of its section.
        told: what its numbers are.
        ratio: the metric there.
        columns: the other columns; one that no row has a value for is left out.
        names: headings by kind, where the measure has kinds.
        kinds: by kind, the ratio and the columns where they are others.

    """

    title: str
    told: str
    ratio: str
    columns: tuple[Column, ...]
    names: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, tuple[str, tuple[Column, ...]]] = field(default_factory=dict)

    def columns_of(self, kind: str) -> tuple[str, tuple[Column, ...]]:
        """Give the ratio and the columns of a kind."""
        return self.kinds.get(kind, (self.ratio, self.columns))


def _mean(values: pd.Series) -> str:
    return words.digits(float(values.mean()))


def _share(values: pd.Series) -> str:
    return words.show("share_of_limit", float(values.mean()))


def _whole(values: pd.Series) -> str:
    """Show a count: processes may differ in it, and a mean of counts is none."""
    return " to ".join(dict.fromkeys([words.digits(values.min()), words.digits(values.max())]))


def _largest(values: pd.Series) -> str:
    return f"{values.max():.1e}"


_IN_PAIRS = "A ratio of 1 is batch norm's time, measured in turn with it in one process"
_MOMENTS = "milliseconds of two rows may have met the machine at different moments"
_MODEL = Column("Model, MiB", "model_mib", _mean)

ASKED = {
    "throughput": Asked(
        "Speed of layers",
        f"{_IN_PAIRS}; {_MOMENTS}. The limit is the time in which a copy, in the same process, moves the fewest bytes "
        "that such a layer must move. Kept is what a layer saves for backward, in multiples of its input. The error is "
        "the largest against float64.",
        "step_ms_ratio",
        (
            Column("Step, ms", "step_ms", _mean),
            Column("Batch norm then, ms", "batch_norm_step_ms", _mean),
            Column("Images/s", "images_per_s", _mean),
            Column("Of the limit", "share_of_limit", _share),
            Column("Kept", "saved_t", _mean),
            Column("Kernels", "kernels", _whole),
            Column("Graph breaks", "graph_breaks", _whole),
            Column("Error", "error_vs_float64", _largest),
        ),
        {
            "hot": "Hot: the step repeated as it is",
            "cold": "Cold: the last-level cache emptied before every step",
        },
    ),
    "model_throughput": Asked(
        "Speed of models",
        "A ratio of 1 is the time of the same model with batch norm, measured in turn with it in one process; where "
        f"phase is folded, with batch norm as it is in inference. Training is forward, backward and SGD's step; "
        f"{_MOMENTS}. The error is of the logits against float64, as a share of their length.",
        "model_step_ms_ratio",
        (
            Column("Step, ms", "model_step_ms", _mean),
            Column("Batch norm then, ms", "batch_norm_model_step_ms", _mean),
            Column("Images/s", "model_images_per_s", _mean),
            Column("Kernels", "model_kernels", _whole),
            Column("Graph breaks", "model_graph_breaks", _whole),
            Column("Error", "model_error_vs_float64", _largest),
        ),
    ),
    "memory": Asked(
        "Memory of models",
        "The peak is the highest memory of a step above what is there before it: the model, its optimizer and the "
        "images. Kept is what the forward pass saves for backward. Ratios are to batch norm's cell with the same "
        "settings, the repeat among them.",
        "peak_mib_ratio",
        (
            Column("Peak, MiB", "peak_mib", _mean),
            Column("Kept, MiB", "saved_mib", _mean),
            _MODEL,
        ),
        {
            "peak": "The peak of a step",
            "largest_batch": "The largest batch that fits, by doubling and bisection",
        },
        {
            "largest_batch": (
                "largest_batch_ratio",
                (Column("Largest batch", "largest_batch", _whole), Column("Its peak, MiB", "peak_mib", _mean), _MODEL),
            )
        },
    ),
    "sync_cost": Asked(
        "Cost of synchronizing",
        "One data-parallel training step of real processes; its time is the slowest rank's. A ratio of 1 is the time "
        f"of local batch norm, measured in turn with it by the same processes; {_MOMENTS}. Collectives are counted per "
        "step, those that average gradients among them.",
        "sync_step_ms_ratio",
        (
            Column("Step, ms", "sync_step_ms", _mean),
            Column("Batch norm then, ms", "batch_norm_sync_step_ms", _mean),
            Column("Images/s", "sync_images_per_s", _mean),
            Column("Collectives", "collectives", _whole),
            Column("In them, ms", "collective_ms", _mean),
            Column("Collectives, local batch norm", "batch_norm_collectives", _whole),
            Column("In them, ms, local batch norm", "batch_norm_collective_ms", _mean),
        ),
    ),
}
"""By measure, in the order of the page."""
