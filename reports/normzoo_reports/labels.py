"""Labels: what metrics and settings are called where their name alone says too little. Units stand in them."""

from __future__ import annotations

_ACCURACY = {
    "test_accuracy": "test accuracy",
    "test_accuracy_mean_buffers": "test accuracy, mean buffers",
    "test_accuracy_population": "test accuracy, population statistics",
    "test_accuracy_batch": "test accuracy, batch statistics",
    "test_accuracy_frozen": "test accuracy, frozen statistics",
    "test_accuracy_ema": "test accuracy, averaged weights",
    "train_eval_gap": "running less batch statistics",
    "stream_accuracy": "accuracy on the stream",
    "stream_accuracy_batch": "accuracy on the stream, each batch's statistics",
    "stream_accuracy_adabn": "accuracy on the stream, the whole stream's (AdaBN)",
    "stream_accuracy_momentum": "accuracy on the stream, statistics that follow it",
    "test_accuracy_grouped": "test accuracy, batches of one class",
    "label_leak": "batches of one class less mixed ones",
    "gradient_footprint": "share of a sample's gradient in its batch-mates",
    "validation_accuracy": "validation accuracy",
    "validation_loss": "validation loss",
    "train_accuracy": "training accuracy, running over the last epoch",
    "local_batch": "samples per statistic",
}


def _timed(name: str, step: str, reference: str) -> dict[str, str]:
    """Label a time, its ratio to what it is paired with, and the percentiles of both."""
    found = {name: f"{step} (ms)", f"{name}_ratio": f"{step} relative to {reference}"}
    found |= {
        f"{key}_{end}": f"{label}, {words}"
        for key, label in found.items()
        for end, words in (("p10", "10th percentile"), ("p90", "90th percentile"))
    }
    return found | {f"batch_norm_{name}": f"{step} with {reference} (ms)"}


METRICS = {
    **_ACCURACY,
    **_timed("step_ms", "time of one step", "batch norm"),
    "step_ms_ratio": "time relative to batch norm",
    "images_per_s": "images per second",
    "share_of_limit": "share of the limit that a copy sets",
    "fewest_mb": "the fewest bytes that must move (MB)",
    "copy_gb_per_s": "bandwidth of a copy (GB/s)",
    "saved_t": "kept for backward (inputs)",
    "kernels": "kernels launched in a step",
    "graph_breaks": "graph breaks when compiled",
    "error_vs_float64": "largest error against float64",
    **_timed("model_step_ms", "time of a model's step", "batch norm"),
    "model_images_per_s": "images per second of a model",
    "model_kernels": "kernels launched in a model's step",
    "model_graph_breaks": "graph breaks of a compiled model",
    "model_error_vs_float64": "error of a model's logits against float64",
    "peak_mib": "memory at the peak of a step, above the model (MiB)",
    "saved_mib": "kept for backward (MiB)",
    "model_mib": "model, optimizer and images (MiB)",
    "largest_batch": "the largest batch that fits (images)",
    **_timed("sync_step_ms", "time of a step of all ranks", "local batch norm"),
    "sync_images_per_s": "images per second of all ranks",
    "collectives": "collectives in a step",
    "collective_ms": "time in collectives, per step (ms)",
    "batch_norm_collectives": "collectives in a step with local batch norm",
    "batch_norm_collective_ms": "time in collectives, per step with local batch norm (ms)",
    "mean_error": "error of a batch's mean (standard deviations)",
    "variance_error": "error of a batch's variance (share)",
    "mean_error_scaled": "error of a batch's mean, times the root of its samples",
    "variance_error_scaled": "error of a batch's variance, times the root of its samples",
    "r_p05": "Batch Renorm's r, 5th percentile",
    "r_p95": "Batch Renorm's r, 95th percentile",
    "d_p95": "size of Batch Renorm's d, 95th percentile",
    "clipped_share": "share of r and d beyond Batch Renorm's limits",
    "shifted_accuracy": "test accuracy in eval mode, images as shifted",
    "forgotten_eval_accuracy": "test accuracy in training mode, eval() forgotten",
    "forgotten_eval_drop": "eval less training mode",
    "eval_accuracy_afterwards": "test accuracy in eval mode after such a pass",
    "moved_statistics": "how far such a pass moves running means (standard deviations)",
    "bias_gradient": "gradient of a bias before the layer (independent ones add up to 1)",
    "undone_error": "largest error of γ = σ, β = μ (standard deviations)",
    "undone_error_at_best": "largest error of the nearest γ and β (standard deviations)",
    "running_mean": "running mean of a constant 7",
    "constant_in_training": "what the constant becomes in training mode",
    "constant_in_eval": "what the constant becomes in eval mode",
    "refuses_one_sample": "refuses one sample in training mode (1 is yes)",
    "refuses_one_sample_in_eval": "refuses one sample in eval mode (1 is yes)",
    "left_of_two_alike": "largest output of two samples that are alike",
    "means_apart_before": "distance of two batches' means before the layer",
    "means_apart_after": "distance of two batches' means behind the layer, in training mode",
    "means_apart_in_eval": "distance of two batches' means behind the layer, in eval mode",
    "scaled_output_change": "largest change of the output, weights times a",
    "scaled_gradient": "gradient of the weights, as a multiple of that at a = 1",
    "trained": "trained (share of seeds)",
    "final_accuracy": "test accuracy at the end",
    "gradient_decades_start": "gradient at the start, first layer over last (log10)",
    "gradient_decades_after": "gradient after steps, first layer over last (log10)",
    "weight_gradient_decades_start": "weights' gradient at the start, first layer over last (log10)",
    "weight_gradient_decades_after": "weights' gradient after steps, first layer over last (log10)",
    "vanishing": "gradients vanish (share of seeds)",
    "exploding": "gradients explode (share of seeds)",
    "steps_to_target": "steps to the target accuracy",
    "steps_to_target_log2": "steps to the target accuracy (log2)",
    "reached": "reached the target (share of seeds)",
    "target_accuracy": "target: best test accuracy of none",
    "highest_rate_times": "highest rate that trains (times the plain one)",
    "highest_rate_log2": "highest rate that trains (doublings)",
    "loss_range": "range of the loss along the gradient (nats)",
    "gradient_change": "change of the gradient along it (l2)",
    "effective_smoothness": "effective β-smoothness along the gradient",
    "loss_range_relative": "range of the loss, relative to a straight line",
    "gradient_change_relative": "change of the gradient, relative to its norm",
    "rising_share": "share of steps along the gradient that raise the loss",
    "loss_range_largest": "range of the loss along the gradient, largest (nats)",
    "gradient_change_largest": "change of the gradient along it, largest (l2)",
    "effective_smoothness_largest": "effective β-smoothness, largest",
    "line_gradient_norm": "norm of the gradient that is moved along",
    "input_shift": "shift of a layer's input (standard deviations)",
    "input_mean_shift": "shift of its mean alone (standard deviations)",
    "input_deviation_shift": "shift of its deviation alone (standard deviations)",
    "gradient_shift_l2": "shift of a layer's gradient as earlier layers step (l2)",
    "gradient_shift_relative": "shift of a layer's gradient, relative to its norm",
    "gradient_shift_cosine": "cosine of a layer's gradient before and after earlier layers' step",
}
"""Labels of metrics that a record holds."""

COMPUTED = {
    "peak_mib_ratio": "memory at the peak, relative to batch norm",
    "largest_batch_ratio": "the largest batch, relative to batch norm",
    "gb_per_s": "achieved bandwidth (GB/s)",
    "input_mb": "size of the input (MB)",
}
"""Labels of what a report computes."""

SETTINGS = {
    "test_batch_size": "samples of a test batch",
    "factor": "a, the factor of the weights",
    "initial_gain": "scale of the initial weights",
    "times": "times the plain learning rate",
    "after": "steps before the second look",
    "image_size": "edge of an image (pixels)",
    "threads": "CPU threads",
    "limit_mib": "limit of memory (MiB)",
    "cache": "last-level cache",
    "repeat": "fresh process",
    "find": "what is looked for",
    "reach": "longest step (learning rates)",
    "every": "steps between looks",
}
"""Labels of settings."""
