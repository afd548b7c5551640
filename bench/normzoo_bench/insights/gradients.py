"""The measure ``gradients``: their norms by layer, at the start and after some steps, and whether the net trains.

Of every convolution and linear layer, in the order of the model, there are two: the gradient that has been propagated
back to what the layer gives, which is what is said to vanish or explode (Bengio, Simard and Frasconi 1994; Pascanu et
al. 2013, arXiv:1211.5063), and that of its weights. In a net without normalization the latter hide it: what grows from
layer to layer on the way forth shrinks on the way back (Glorot and Bengio 2010, section 4.2.2).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normzoo import TooFewValuesError
from normzoo_bench.accuracy import Ended, Run
from normzoo_bench.data import DataSet
from normzoo_bench.insights.watched import trains, watch_steps
from normzoo_bench.result import CannotRun, Result
from normzoo_bench.seeds import stream
from normzoo_bench.training.readings import hits_and_loss
from normzoo_bench.training.trainer import autocast
from normzoo_suites.settings import GradientsSettings, training_of

LIMIT = 10.0
"""Decades beyond which a ratio is not told: nothing trains there, and float32 soon ends."""

STRANGE = 3.0
"""Decades between the first and the last hidden layer from which on gradients count as vanished, or exploded."""

Norms = tuple[Tensor, Tensor]
"""By layer: of what was propagated back to its output, and of its weights."""


def measure(cells: Sequence[GradientsSettings], data: DataSet) -> list[Ended]:
    """Train once, and look at the gradients at the start and where each cell asks for it."""
    training = training_of(cells[0])
    assert training is not None  # for mypy: these are settings of a training
    run = Run(training, data)
    try:
        return _measured(run, cells)
    except (CannotRun, TooFewValuesError) as error:
        return [CannotRun(str(error)) for _ in cells]


def _measured(run: Run, cells: Sequence[GradientsSettings]) -> list[Ended]:
    probe = _probe(run)
    start, after = _look(run, probe), {}
    asked = {one.after for one in cells}

    def look(taken: int) -> None:
        if taken in asked:
            after[taken] = _look(run, probe)

    watch_steps(run, look)
    for steps in asked - set(after):  # the training was shorter
        after[steps] = _look(run, probe)
    trained, known = trains(run), run.known["chance_accuracy"]
    accuracy = known if run.training.diverged else hits_and_loss(run.training.model, run.held, run.settings)[0]
    told = {"chance_accuracy": known, "trained": float(trained), "final_accuracy": accuracy}
    return [_result(run, told, start, after[one.after]) for one in cells]


def _result(run: Run, told: dict[str, float], start: Norms, after: Norms) -> Result:
    metrics, samples, ratios = dict(told), {}, []
    for when, (given, weights) in (("start", start), ("after", after)):
        metrics[f"gradient_decades_{when}"] = decades(given)
        metrics[f"weight_gradient_decades_{when}"] = decades(weights)
        ratios.append(metrics[f"gradient_decades_{when}"])
        samples[f"gradient_{when}"], samples[f"weight_gradient_{when}"] = _finite(given), _finite(weights)
    metrics["vanishing"] = float(min(ratios) < -STRANGE)
    metrics["exploding"] = float(max(ratios) > STRANGE)
    ended = len(run.training.series["train_loss"]) - run.training.diverged
    series = {name: values[:ended] for name, values in run.training.series.items()}
    return Result(metrics, series, samples, options=run.options)


def decades(norms: Tensor) -> float:
    """Give log10 of the first layer's norm over the last hidden layer's, which is the last but one, within ± 10.

    Norms that are not finite have exploded; one of 0 in the first layer has vanished, whatever the others are.

    Args:
        norms: by layer, [layers].

    Raises:
        CannotRun: of fewer than three layers, where the first hidden layer is the last, too.

    """
    if len(norms) < 3:
        hidden = max(0, len(norms) - 1)
        raise CannotRun(f"gradients are compared between hidden layers, and the model has {hidden} of them")
    first, last = float(norms[0]), float(norms[-2])
    if not norms.isfinite().all():
        return LIMIT
    if first == 0:
        return -LIMIT
    if last == 0:
        return LIMIT
    ratio = torch.tensor([first, last], dtype=torch.float64).log10()
    return float((ratio[0] - ratio[1]).clamp(-LIMIT, LIMIT))


def gradient_norms(model: nn.Module, loss: Callable[[], Tensor]) -> Norms:
    """Give the Euclidean norms of a loss's gradients by layer, of convolutions and linear layers in the model's order.

    A layer that is called several times has the norm over all its outputs together, one that is never called has 0.

    Args:
        model: left as it is, its buffers among it where ``loss`` leaves them.
        loss: runs the model, and gives a number.

    Returns:
        the norms of the gradients of the layers' outputs and of their weights, [layers] each, float64.

    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    with _outputs(layers) as outputs:
        value = loss()
    given, owners = [one for _, one in outputs], [number for number, _ in outputs]
    found = torch.autograd.grad(value, [*given, *(layer.weight for layer in layers)], allow_unused=True)
    zero = torch.zeros((), dtype=torch.float64, device=value.device)
    squares = torch.stack([zero if one is None else one.double().square().sum() for one in found]).cpu()
    of_outputs = torch.zeros(len(layers), dtype=torch.float64)
    of_outputs.index_add_(0, torch.tensor(owners, dtype=torch.int64), squares[: len(given)])
    return of_outputs.sqrt(), squares[len(given) :].sqrt()


@contextlib.contextmanager
def _outputs(layers: Sequence[nn.Module]) -> Iterator[list[tuple[int, Tensor]]]:
    """Keep what layers give from here on, each with the layer's number."""
    kept: list[tuple[int, Tensor]] = []

    def keeper(number: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
            kept.append((number, output))
            return output.clone()  # what follows may write into its input

        return keep

    handles = [layer.register_forward_hook(keeper(number)) for number, layer in enumerate(layers)]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _probe(run: Run) -> Tensor:
    """Draw the training samples that all looks see: as many as a step has, without augmentation."""
    drawn = stream(run.settings.seed, "samples for gradients").permutation(len(run.train))[: run.settings.batch_size]
    return torch.from_numpy(drawn).to(run.settings.device)


def _look(run: Run, probe: Tensor) -> Norms:
    """Give the norms as training has them, batch statistics and all, on a copy that the training does not see."""
    model = copy.deepcopy(run.training.model)
    images, labels = run.train.batch(probe)

    def loss() -> Tensor:
        with autocast(run.settings):
            logits = model(images)
        wide = torch.promote_types(logits.dtype, torch.float32)
        return F.cross_entropy(logits.to(wide), labels, label_smoothing=run.settings.label_smoothing)

    return gradient_norms(model, loss)


def _finite(norms: Tensor) -> list[float]:
    """Give norms as a record can hold them: the largest number stands for what is not finite."""
    largest = torch.finfo(torch.float32).max
    return [float(one) for one in norms.nan_to_num(nan=largest, posinf=largest).clamp(max=largest)]
