"""Which metrics are outcomes, which way each is better, and how a change of it is told. The one place for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

How = Literal["points", "ratio", "plain"]
"""How two values are compared: shares by percentage points, times and memory by their ratio, the rest as they are."""

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Outcome:
    """What a metric is to a comparison.

    Attributes:
        better: which way it is better; ``neither`` where that depends on who asks.
        how: how a change of it is told.
        main: whether a table of what changed shows it without being asked; what follows from another metric does not
            stand there a second time.

    """

    better: Better
    how: How
    main: bool = True


_READING = Outcome("higher", "points")
_GAP = Outcome("neither", "points")
_TIME = Outcome("lower", "ratio")
_SIZE = Outcome("lower", "ratio")
_COUNT = Outcome("lower", "plain")
_BESIDE_LOWER = Outcome("lower", "ratio", main=False)
_BESIDE_HIGHER = Outcome("higher", "ratio", main=False)
_INSIGHT, _INSIGHT_BESIDE = (Outcome("neither", "plain", main) for main in (True, False))  # it explains; it is no merit
_REFERENCE = Outcome("neither", "ratio", main=False)  # what is timed beside: it tells of the machine

OUTCOMES: dict[str, Outcome] = {
    "test_accuracy": _READING,
    "test_accuracy_population": _READING,
    "test_accuracy_batch": _READING,
    "test_accuracy_mean_buffers": _READING,
    "test_accuracy_frozen": _READING,
    "test_accuracy_ema": _READING,
    "train_eval_gap": _GAP,
    "stream_accuracy": _READING,
    "stream_accuracy_batch": _READING,
    "stream_accuracy_adabn": _READING,
    "stream_accuracy_momentum": _READING,
    "test_accuracy_grouped": _GAP,  # where labels leak into statistics, a high one is no merit
    "label_leak": _GAP,
    "gradient_footprint": Outcome("neither", "plain"),
    "validation_accuracy": _READING,
    "validation_loss": Outcome("lower", "plain", main=False),
    "train_accuracy": Outcome("neither", "points", main=False),
    "test_loss": Outcome("lower", "plain", main=False),
    "step_ms": _TIME,
    "step_ms_ratio": _TIME,
    "batch_norm_step_ms": _REFERENCE,
    "images_per_s": _BESIDE_HIGHER,
    "share_of_limit": Outcome("higher", "points", main=False),
    "copy_gb_per_s": _REFERENCE,
    "saved_t": Outcome("lower", "plain"),
    "kernels": _COUNT,
    "graph_breaks": _COUNT,
    "error_vs_float64": _BESIDE_LOWER,
    "model_step_ms": _TIME,
    "model_step_ms_ratio": _TIME,
    "batch_norm_model_step_ms": _REFERENCE,
    "model_images_per_s": _BESIDE_HIGHER,
    "model_kernels": _COUNT,
    "model_graph_breaks": _COUNT,
    "model_error_vs_float64": _BESIDE_LOWER,
    "peak_mib": _SIZE,
    "saved_mib": _SIZE,
    "model_mib": Outcome("lower", "ratio", main=False),
    "largest_batch": Outcome("higher", "ratio"),
    "sync_step_ms": _TIME,
    "sync_step_ms_ratio": _TIME,
    "batch_norm_sync_step_ms": _REFERENCE,
    "sync_images_per_s": _BESIDE_HIGHER,
    "collectives": _COUNT,
    "mean_error": _INSIGHT,
    "variance_error": _INSIGHT,
    "mean_error_scaled": _INSIGHT_BESIDE,
    "variance_error_scaled": _INSIGHT_BESIDE,
    "r_p05": _INSIGHT_BESIDE,
    "r_p95": _INSIGHT_BESIDE,
    "d_p95": _INSIGHT_BESIDE,
    "clipped_share": _INSIGHT_BESIDE,
    "shifted_accuracy": _READING,
    "forgotten_eval_accuracy": _GAP,  # where labels leak into statistics, a high one is no merit
    "forgotten_eval_drop": _GAP,
    "eval_accuracy_afterwards": _READING,
    "moved_statistics": _INSIGHT,
    "bias_gradient": _INSIGHT,
    "undone_error": _INSIGHT,
    "undone_error_at_best": _INSIGHT_BESIDE,
    "running_mean": _INSIGHT,
    "constant_in_training": _INSIGHT_BESIDE,
    "constant_in_eval": _INSIGHT_BESIDE,
    "refuses_one_sample": _INSIGHT,
    "refuses_one_sample_in_eval": _INSIGHT_BESIDE,
    "left_of_two_alike": _INSIGHT_BESIDE,
    "means_apart_before": _INSIGHT_BESIDE,
    "means_apart_after": _INSIGHT,
    "means_apart_in_eval": _INSIGHT_BESIDE,
    "scaled_output_change": _INSIGHT,
    "scaled_gradient": _INSIGHT,
    "trained": _INSIGHT,
    "final_accuracy": _READING,
    "gradient_decades_start": _INSIGHT,
    "gradient_decades_after": _INSIGHT_BESIDE,
    "weight_gradient_decades_start": _INSIGHT_BESIDE,
    "weight_gradient_decades_after": _INSIGHT_BESIDE,
    "vanishing": _INSIGHT_BESIDE,
    "exploding": _INSIGHT_BESIDE,
    "steps_to_target": _INSIGHT,
    "steps_to_target_log2": _INSIGHT_BESIDE,
    "reached": _INSIGHT_BESIDE,
    "target_accuracy": Outcome("neither", "points", main=False),
    "highest_rate_times": _INSIGHT,
    "highest_rate_log2": _INSIGHT_BESIDE,
    "loss_range": _INSIGHT,
    "gradient_change": _INSIGHT,
    "effective_smoothness": _INSIGHT,
    "loss_range_relative": _INSIGHT_BESIDE,
    "gradient_change_relative": _INSIGHT,
    "rising_share": _INSIGHT,
    "loss_range_largest": _INSIGHT_BESIDE,
    "gradient_change_largest": _INSIGHT_BESIDE,
    "effective_smoothness_largest": _INSIGHT_BESIDE,
    "line_gradient_norm": _INSIGHT_BESIDE,
    "input_shift": _INSIGHT,
    "input_mean_shift": _INSIGHT_BESIDE,
    "input_deviation_shift": _INSIGHT_BESIDE,
    "gradient_shift_l2": _INSIGHT_BESIDE,
    "gradient_shift_relative": _INSIGHT,
    "gradient_shift_cosine": _INSIGHT,
    "collective_ms": Outcome("lower", "plain"),  # 0 where nothing is synchronized, of which there is no ratio
}
"""By metric. What is left out is no outcome: chance, the bytes that must move, percentiles, what a setting implies."""
