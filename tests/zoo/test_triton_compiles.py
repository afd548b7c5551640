"""That the Triton kernels compile for a Hopper GPU, without one, and to wide loads."""

from __future__ import annotations

import pytest

from normzoo.kernels.triton_plans import group_plan, layer_plan, power_of_2

triton = pytest.importorskip("triton", reason="Triton is not installed")
from triton.backends.compiler import GPUTarget  # noqa: E402  # only after the skip
from triton.compiler import ASTSource  # noqa: E402

from normzoo.kernels import triton_group_backward, triton_group_forward, triton_layer, triton_renorm  # noqa: E402

pytestmark = pytest.mark.skipif(triton.knobs.runtime.interpret, reason="Triton interprets here, and compiles nothing")
NARROW = ("x", "y", "gradient", "of_x")
NUMBERS = {"eps": "fp32", "momentum": "fp32", "r_max": "fp32", "d_max": "fp32", "warmup_steps": "fp32"}
NUMBERS |= {"space": "i32", "part_rows": "i32", "channels": "i32", "units": "i32", "counter": "*i64"}


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """Give a function that compiles a kernel for sm_90, all its pointers and sizes divisible by 16."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def compile_(kernel, warps, **constants):
        types = {name: NUMBERS.get(name, "*bf16" if name in NARROW else "*fp32") for name in kernel.arg_names}
        types |= dict.fromkeys(constants, "constexpr")
        whole = [place for place, name in enumerate(kernel.arg_names) if types[name] not in ("fp32", "constexpr")]
        attributes = {(place,): [["tt.divisibility", 16]] for place in whole}
        source = ASTSource(kernel, types, constants, attributes)
        return triton.compile(
            source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps, "enable_fp_fusion": True}
        )

    return compile_


def assert_vectors(kernel):
    """Require that tiles move in 16 bytes per thread and instruction."""
    tiles = [line for line in kernel.asm["ptx"].splitlines() if "evict_" in line and "global" in line]
    assert tiles
    assert all(".v4.b32" in line for line in tiles)


@pytest.mark.parametrize("samples", [4, 256], ids=["split", "whole"])
@pytest.mark.parametrize("tensors", [1, 2], ids=["forward", "backward"])
def test_group_norm_compiles_to_vector_loads(compiled, samples, tensors):
    plan = group_plan(samples, 3136, 64, 32, 2, tensors)
    shape = {"CHANNELS": 64, "SIZE": 2, "WIDTH": plan.width, "PARTS": plan.parts}
    shape |= {"ROWS": plan.tile_rows, "COLUMNS": plan.columns, "MEMBERS": plan.members}
    last = triton_group_forward.normalize if tensors == 1 else triton_group_backward.differentiate
    assert_vectors(compiled(last, plan.warps, **shape, PARTS_UP=power_of_2(plan.parts)))
    first = triton_group_forward.moments_of_parts if tensors == 1 else triton_group_backward.sums_of_parts
    if plan.parts > 1:
        assert_vectors(compiled(first, plan.warps, **shape))


def test_layer_norm_over_channels_compiles_to_vector_loads(compiled):
    plan = layer_plan(32, 256, 784, 2)
    shape = {"ROWS": plan.tile_rows, "COLUMNS": plan.columns, "ALIGN": plan.align}
    assert_vectors(compiled(triton_layer.normalize, plan.warps, **shape))
    assert_vectors(compiled(triton_layer.differentiate, plan.warps, **shape))


def test_the_renorm_correction_compiles_with_a_barrier_before_the_counter_moves(compiled):
    options = {"RAMP": True, "CUMULATIVE": True, "MOVE": True, "COLUMNS": 1024}
    code = compiled(triton_renorm.correct_kernel, 8, **options).asm["ptx"]
    assert code.index("ld.global.b64") < code.index("bar.sync") < code.index("st.global.b64")
