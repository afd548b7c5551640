"""Every number that a measure gives, spelt once: what claims and figures may speak of. Units stand in the names."""

from __future__ import annotations


def _timed(name: str) -> tuple[str, ...]:
    """Name a time, its ratio to batch norm's in pairs, and the 10th and 90th percentile of both."""
    spread = (f"{which}{end}" for which in (name, f"{name}_ratio") for end in ("", "_p10", "_p90"))
    return (*spread, f"batch_norm_{name}")


METRICS: dict[str, tuple[str, ...]] = {
    "accuracy": (
        "test_accuracy",
        "test_accuracy_population",
        "test_accuracy_batch",
        "test_accuracy_mean_buffers",
        "test_accuracy_frozen",
        "test_accuracy_ema",
        "train_eval_gap",
        "stream_accuracy",
        "stream_accuracy_batch",
        "stream_accuracy_adabn",
        "stream_accuracy_momentum",
        "test_accuracy_grouped",
        "label_leak",
        "gradient_footprint",
        "validation_accuracy",
        "validation_loss",
        "train_accuracy",
        "test_loss",
        "chance_accuracy",
        "local_batch",
    ),
    "throughput": (
        *_timed("step_ms"),
        "images_per_s",
        "share_of_limit",
        "fewest_mb",
        "copy_gb_per_s",
        "saved_t",
        "kernels",
        "graph_breaks",
        "error_vs_float64",
    ),
    "model_throughput": (
        *_timed("model_step_ms"),
        "model_images_per_s",
        "model_kernels",
        "model_graph_breaks",
        "model_error_vs_float64",
    ),
    "memory": ("peak_mib", "saved_mib", "model_mib", "largest_batch"),
    "sync_cost": (
        *_timed("sync_step_ms"),
        "sync_images_per_s",
        "collectives",
        "collective_ms",
        "batch_norm_collectives",
        "batch_norm_collective_ms",
    ),
}
"""By measure, the metrics of its records. No two measures share one: a metric tells what was measured."""


def measure_of(metric: str) -> str | None:
    """Name the measure that gives a metric, or None where none does."""
    return next((measure for measure, metrics in METRICS.items() if metric in metrics), None)
