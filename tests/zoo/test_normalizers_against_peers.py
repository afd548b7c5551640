"""Batch Renormalization against implementations of others, where they are installed (the extra ``peers``)."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from test_normalizers import made, values
from test_normalizers_batch_renorm import steps

CHANNELS = 6


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]  # a module
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "torch")  # it is read at import
    found = pytest.importorskip("keras", reason="the extra peers is not installed")
    if found.backend.backend() != "torch":
        pytest.skip("keras was imported with another backend")
    return found


def test_training_and_gradients_are_those_of_keras(keras) -> None:  # type: ignore[no-untyped-def]  # a module
    """Over steps with corrections inside and at their limits; to float32, in which keras keeps some of it."""
    limits = {"rmin": 1 / 1.5, "rmax": 1.5, "dmax": 0.5}
    options = {"renorm": True, "renorm_clipping": limits, "renorm_momentum": 0.9, "epsilon": 1e-5, "axis": 1}
    theirs = keras.layers.BatchNormalization(**options, dtype="float64")
    theirs.build((None, CHANNELS, 3))
    theirs.renorm_stddev.assign(np.ones(CHANNELS))
    ours = made("batch_renorm", CHANNELS, momentum=0.1, r_max=1.5, d_max=0.5)
    theirs.gamma.assign(ours.weight.detach().numpy())
    theirs.beta.assign(ours.bias.detach().numpy())
    for step, x in enumerate(steps(10)):
        g, found = values(*x.shape, seed=50 + step, mean=0.0), []
        for layer, parameters in (
            (lambda one: theirs(one, training=True), [theirs.gamma.value, theirs.beta.value]),
            (ours, [ours.weight, ours.bias]),
        ):
            leaf = x.clone().requires_grad_()
            y = layer(leaf)
            found.append([y.detach(), *torch.autograd.grad(y, [leaf, *parameters], g)])
        torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=2e-6)
        np.testing.assert_allclose(
            ours.running_mean.numpy(), theirs.renorm_mean.value.detach().cpu().numpy(), rtol=1e-5
        )
        np.testing.assert_allclose(
            ours.running_std.numpy(), theirs.renorm_stddev.value.detach().cpu().numpy(), rtol=1e-5
        )
