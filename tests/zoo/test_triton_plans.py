"""How the Triton kernels cut their work; needs no Triton."""

from __future__ import annotations

import pytest

from normzoo.kernels.triton_plans import group_plan, layer_plan

SIZES = [(256, 3136, 64, 32), (32, 3136, 64, 32), (1, 2097152, 32, 8), (64, 49, 2048, 32), (2, 49, 2048, 1)]
SIZES += [(1000, 1, 30, 5), (4, 12544, 13, 1), (256, 784, 513, 27), (0, 49, 64, 32), (8, 196, 40000, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tensors", [1, 2])
def test_a_plan_covers_every_row_and_every_channel_once(size, tensors):
    _, space, channels, number = size
    plan = group_plan(*size, 2, tensors)
    assert (plan.parts - 1) * plan.part_rows < space <= plan.parts * plan.part_rows
    assert plan.width % (channels // number) == 0
    assert plan.width <= min(plan.columns, channels)
    assert plan.width // (channels // number) <= plan.members


@pytest.mark.parametrize("size", SIZES)
def test_a_tile_holds_at_most_64_values_per_thread(size):
    """More do not fit into a thread's 255 registers, with the two running values of each."""
    plan, other = group_plan(*size, 2, 2), layer_plan(size[0], size[2], size[1], 2)
    assert plan.tile_rows * plan.columns <= 64 * 32 * plan.warps or plan.tile_rows == 1
    assert other.tile_rows * other.columns <= 64 * 32 * other.warps
