"""What the page on writing a normalizer says holds: its example is run, as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import normzoo
from normzoo import Card, contract, plugins, registry

PAGE = Path(__file__).parents[2] / "docs" / "write_your_own_normalizer.md"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Card]:
    """The card of the page's example, loaded from a file as a reader's would be."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    [code] = [block for block in blocks if "class MyRenorm" in block]
    file = tmp_path_factory.mktemp("reader") / "my_renorm.py"
    file.write_text(code, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_cards", dict(registry._cards))
        patch.setattr(plugins, "_loaded", dict(plugins._loaded))
        [name] = plugins.load(file)
        yield normzoo.card(name)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_the_pages_example_keeps_its_contract(example: Card, check: contract.Check) -> None:
    [finding] = contract.run_checks(example, [check])
    assert finding.outcome == "passed", finding.message


def test_the_pages_example_is_recalibrated_to_the_data(example: Card) -> None:
    x = 5 + 3 * torch.randn(40, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = nn.Sequential(example.factory(4)).double()
    normzoo.recalibrate(model, x.split(15))
    y = model.eval()(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(4).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(y.std((0, 2, 3), correction=0), torch.ones(4).double(), rtol=0, atol=1e-5)


def test_the_pages_example_trains_as_batch_renorm_does(example: Card) -> None:
    mine, zoos = (one(4).double() for one in (example.factory, normzoo.card("batch_renorm").factory))
    for seed in range(4):
        x = seed + torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        torch.testing.assert_close(mine(x), zoos(x), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(mine.eval()(x), zoos.eval()(x), rtol=1e-11, atol=1e-11)
