"""Under which conditions a time was taken: what is recorded of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

import normzoo
from normzoo_bench.speed import conditions, limit, modes
from normzoo_bench.speed.saved import saved_bytes


def event(device, named=False):
    return SimpleNamespace(device_type=lambda: SimpleNamespace(name=device), is_user_annotation=lambda: named)


def test_kernels_are_the_events_on_the_gpu_that_are_no_mere_names():
    assert conditions.on_the_gpu([event("CUDA"), event("CPU"), event("CUDA", named=True), event("CUDA")]) == 2


@pytest.mark.filterwarnings("ignore:.*Profiler clears events:UserWarning")  # said of every profile by torch 2.11
def test_a_profile_has_what_kernels_are_told_by():
    with profile(activities=[ProfilerActivity.CPU]) as seen, record_function("a name"):
        torch.ones(3).add(1)
    events = seen.profiler.kineto_results.events()
    assert {one.device_type().name for one in events} == {"CPU"}
    assert [one.name() for one in events if one.is_user_annotation()] == ["a name"]


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (torch.zeros(2, 3, 4, 4), "contiguous"),
        (torch.zeros(2, 3, 4, 4).contiguous(memory_format=torch.channels_last), "channels_last"),
        (torch.zeros(2, 5, 3).movedim(1, -1), "channels_last"),
        (torch.zeros(2, 3), "contiguous"),
        (torch.zeros(4, 4, 3, 2).permute(3, 2, 0, 1), "strides (1, 2, 24, 6)"),
    ],
)
def test_a_layout_is_named_by_how_a_tensor_lies(x, expected):
    assert conditions.layout(x) == expected


def test_the_backend_of_torchs_batch_norm_is_told():
    assert conditions.batch_norm_backend(torch.randn(4, 3, 5, 5, requires_grad=True), training=True) == "Native"


def test_dtypes_are_counted_by_what_goes_into_a_norm_and_what_comes_out():
    net = nn.Sequential(nn.Linear(4, 4), normzoo.create("none", 4), nn.Linear(4, 4), normzoo.create("none", 4))
    x = torch.randn(2, 4)

    def step():
        with torch.autocast("cpu", torch.bfloat16):
            net(x)

    assert conditions.norm_dtypes(net, normzoo.card("none").factory, step) == {"bfloat16 to bfloat16": 2}
    assert not any(one._forward_hooks for one in net.modules())


@pytest.mark.parametrize(
    ("name", "forward", "both", "inference"),
    [("batch_norm", 3, 8, 2), ("sync_batch_norm", 3, 8, 2), ("batch_renorm", 3, 8, 2),
     ("group_norm", 2, 5, 2), ("layer_norm", 2, 5, 2), ("layer_norm_channels", 2, 5, 2), ("none", 2, 5, 2)],
)  # fmt: skip
def test_the_fewest_passes_are_those_of_what_a_normalizer_pools_over(name, forward, both, inference):
    found = [limit.fewest_passes(normzoo.card(name), one) for one in ("forward", "forward_backward", "eval")]
    assert found == [forward, both, inference]


def test_a_batch_norm_without_running_statistics_needs_three_passes_in_inference():
    card = SimpleNamespace(pools={"batch", "space"}, running_stats=False)
    assert limit.fewest_passes(card, "eval") == 3


def test_the_bandwidth_of_a_copy_counts_what_is_read_and_what_is_written(monkeypatch):
    limit.copy_bytes_per_ms.cache_clear()
    monkeypatch.setattr(limit, "COPIED", 1000)
    monkeypatch.setattr(limit, "clock_of", lambda _device: lambda step, count: (step(), 4.0 * count)[1])
    assert limit.copy_bytes_per_ms("cpu") == 2 * 1000 / 4.0
    limit.copy_bytes_per_ms.cache_clear()


def test_what_is_saved_for_backward_has_no_parameters_and_no_storage_twice():
    layer, x = nn.Linear(4, 4, bias=False), torch.randn(8, 4, requires_grad=True)
    # the product keeps x and the weight; the square keeps its own input twice over
    assert saved_bytes(lambda: layer(x).square(), layer) == 2 * x.nbytes


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # the compiler's own use of it
def test_graph_breaks_are_those_of_what_was_compiled_last():
    class Breaks(nn.Module):
        def forward(self, x):
            x = x + 1
            torch._dynamo.graph_break()
            return x * 2

    modes.forget_compiled()
    modes.compiled(Breaks())(torch.ones(3))
    assert modes.graph_breaks() == 1
    modes.compiled(nn.Identity())(torch.ones(3))
    assert modes.graph_breaks() == 0
