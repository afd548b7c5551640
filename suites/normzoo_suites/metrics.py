"""Every number that a measure gives, spelt once: what claims and figures may speak of. Units stand in the names."""

from __future__ import annotations

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
        "step_ms",
        "step_ms_p10",
        "step_ms_p90",
        "step_ms_ratio",
        "step_ms_ratio_p10",
        "step_ms_ratio_p90",
        "batch_norm_step_ms",
        "images_per_s",
        "error_vs_float64",
    ),
}
"""By measure, the metrics of its records. No two measures share one: a metric tells what was measured."""


def measure_of(metric: str) -> str | None:
    """Name the measure that gives a metric, or None where none does."""
    return next((measure for measure, metrics in METRICS.items() if metric in metrics), None)
