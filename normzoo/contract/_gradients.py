"""Gradients against finite differences, in float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError
from torch.func import functional_call

from normzoo.contract._probe import ContractError, build, draw
from normzoo.registry import Card


def check_gradients_match_finite_differences(card: Card) -> None:
    """In float64 the gradients of input, weight and bias are those of finite differences, in training and in eval.

    A normalizer whose training reads running statistics is probed far from them (mean 500, standard deviation 50,
    against 0 and 1). Batch Renorm takes its correction r, d as constant in the gradient, which finite differences can
    see only where it is constant: at its limits. Elsewhere its gradient is, on purpose, not its output's.
    """
    for training in (True, False):
        reads_statistics = training and card.running_stats and not card.eval_only_stats
        module = build(card, steps=0 if reads_statistics else 2).train(training)
        x = draw(3, space=(2,), mean=500.0, std=50.0) if reads_statistics else draw(3, space=(2,))
        try:
            _gradcheck(module, x)
        except GradcheckError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            mode = "training" if training else "eval"
            raise ContractError(f"{mode}: autograd and finite differences disagree: {' '.join(lines[:3])}") from error


def _gradcheck(module: nn.Module, x: Tensor) -> None:
    names = [name for name, _ in module.named_parameters()]
    parameters = [parameter.detach().clone().requires_grad_() for parameter in module.parameters()]

    def output(x: Tensor, *values: Tensor) -> Tensor:
        # a copy for each call: running statistics must not move while differences are taken
        y: Tensor = functional_call(copy.deepcopy(module), dict(zip(names, values, strict=True)), (x,))
        return y

    inputs = (x.clone().requires_grad_(), *parameters)
    # fast mode multiplies atol by the number of outputs: with the default it would let anything pass
    torch.autograd.gradcheck(output, inputs, eps=1e-5, atol=1e-9, rtol=1e-5, fast_mode=True)
