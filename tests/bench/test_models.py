"""Models by name."""

from __future__ import annotations

import pytest
import torch

from normzoo_bench import models
from normzoo_bench.errors import UsageError


@pytest.mark.parametrize("name", list(models.model_names()))
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_every_built_in_model_takes_small_and_large_pictures(name, shape):
    assert models.build(name, shape, 7).eval()(torch.zeros(2, *shape)).shape == (2, 7)


def test_resnet20_has_the_papers_number_of_weights():
    """He et al. 2016, table 6: 0.27 M."""
    count = sum(p.numel() for p in models.build("resnet20", (3, 32, 32), 10).parameters())
    assert count == pytest.approx(0.27e6, rel=0.01)


def test_a_timm_model_is_built_for_the_data():
    model = models.build("timm/test_resnet", (1, 32, 32), 5).eval()
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 5)


def test_a_timm_model_of_fixed_size_is_told_the_size():
    assert models.build("timm/test_vit", (3, 64, 64), 5).eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "message"), [("resnet21", "did you mean 'resnet20'"), ("timm/resnet19", r"did you mean .*timm/resnet18")]
)
def test_an_unknown_model_names_the_nearest(name, message):
    with pytest.raises(UsageError, match=message):
        models.build(name, (3, 32, 32), 10)
