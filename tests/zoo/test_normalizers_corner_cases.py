"""Where implementations go wrong in silence: narrow types, odd strides, checkpoints within other things, casts."""

from __future__ import annotations

import copy
import functools
import io
from collections.abc import Callable

import pytest
import torch
from test_normalizers import made, values
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

import normzoo

NORMS = ["batch_norm", "batch_renorm", "layer_norm", "group_norm", "layer_norm_channels"]
LAST = torch.channels_last


def step(module: nn.Module, x: Tensor, gradient: Tensor) -> list[Tensor]:
    """Give output and gradients of input, weight and bias."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = module(x)
    return [y.detach(), *torch.autograd.grad(y, [x, *module.parameters()], gradient.to(y.dtype))]


def errors(module: nn.Module, x: Tensor, gradient: Tensor) -> list[float]:
    """Give the relative errors of a step against the same one in float64."""
    exact = step(copy.deepcopy(module).double(), x.double(), gradient.double())
    found = step(module, x, gradient)
    return [((a.double() - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True)]


@pytest.mark.parametrize("shape", [(8000, 64), (16, 64, 28, 28)])
@pytest.mark.parametrize("mean", [0.0, 20.0])
@pytest.mark.parametrize("name", NORMS)
def test_gradients_of_narrow_input_are_as_close_as_its_digits_allow(
    name: str, mean: float, shape: tuple[int, ...]
) -> None:
    """torch's layer norm adds up the bfloat16 gradient of its bias in bfloat16: 90 % off over these rows."""
    x, g = values(*shape, mean=mean).bfloat16(), values(*shape, seed=1, mean=0.1, std=1.0).bfloat16()
    for one in (x, x.contiguous(memory_format=LAST)) if x.dim() == 4 else (x,):
        gradient = g.contiguous(memory_format=LAST) if one.stride() != g.stride() else g
        y, of_x, of_weight, of_bias = errors(normzoo.create(name, 64), one, gradient)
        assert max(y, of_x) < 4e-3
        assert max(of_weight, of_bias) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NORMS)
def test_an_axis_of_size_one_may_have_any_stride(name: str, training: bool, dtype: torch.dtype) -> None:
    """torch's batch norm takes a contiguous gradient for one in the layout of such an input: more than 100 % off."""
    module = made(name, 12, dtype).train(training)
    for shape, strides in (((1, 12, 3, 3), (12, 1, 36, 12)), ((2, 12, 7, 1), (84, 1, 12, 5))):
        x = torch.empty_strided(shape, strides, dtype=dtype).copy_(values(*shape))
        g = values(*shape, seed=1)
        found, expected = (step(copy.deepcopy(module), one, g) for one in (x, x.contiguous()))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NORMS)
def test_a_slice_of_a_tensor_is_normalized_as_its_copy_is(name: str) -> None:
    x = values(16, 8, 28, 60, mean=1e4, std=1.0).float()[..., ::2]
    found, expected = (normzoo.create(name, 8)(one) for one in (x, x.contiguous()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=3e-2)  # a few float32 digits of the mean


def compiled(module: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = torch.compile(module, backend="aot_eager", fullgraph=True)(x)
    return y


def saved(module: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = checkpoint(module, x, use_reentrant=False)
    return y


WAYS: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "compiled": lambda module: torch.compile(module, backend="aot_eager", fullgraph=True),
    "checkpointed, then compiled": lambda module: torch.compile(
        functools.partial(saved, module), backend="aot_eager", fullgraph=True
    ),
    "compiled, then checkpointed": lambda module: functools.partial(
        saved, torch.compile(module, backend="aot_eager", fullgraph=True)
    ),
}


MOVING: dict[str, dict[str, object]] = {
    "batch_norm": {"momentum": 0.3},
    "sync_batch_norm": {"momentum": 0.3},
    "batch_renorm": {"momentum": 0.3, "warmup_steps": 4, "average": "cumulative"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MOVING)
def test_a_layer_may_be_compiled_and_checkpointed_in_either_order(name: str, way: str) -> None:
    """Gradients are those of eager mode, and statistics move once."""
    torch._dynamo.reset()
    plain = made(name, 4, **MOVING[name])
    other = copy.deepcopy(plain)
    run = WAYS[way](other)
    for seed in range(4):
        inputs = [values(6, 4, 3, 3, seed=seed, mean=0.5 * seed).requires_grad_() for _ in range(2)]
        for call, x in zip((plain, run), inputs, strict=True):
            call(x).pow(3).sum().backward()
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(other.state_dict(), plain.state_dict())
    torch.testing.assert_close(other.weight.grad, plain.weight.grad)


def test_a_compiled_model_asks_once_whether_it_is_recomputed() -> None:
    """Not once per layer: an operation that the compiler cannot see through costs a call into Python."""
    torch._dynamo.reset()
    run = WAYS["compiled"](nn.Sequential(*(made("batch_norm", 4) for _ in range(3))))
    run(values(6, 4, 3, 3))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run(values(6, 4, 3, 3))
    assert sum(event.name == "normzoo::is_first_run" for event in profile.events()) == 1


def test_an_exported_batch_norm_needs_no_operation_of_ours() -> None:
    program = torch.export.export(made("batch_norm", 4), (values(6, 4, 3, 3),))
    assert not [node for node in program.graph.nodes if "normzoo" in str(node.target)]


@pytest.mark.parametrize("weight", [None, 0.3])
def test_a_buffer_is_moved_once(weight: float | None) -> None:
    """As by ``copy_`` or ``lerp_``; a checkpoint's recomputation moves nothing."""
    buffer, value = torch.ones(3), torch.tensor([2.0, 4.0, torch.inf], requires_grad=True)
    expected = value.detach().clone() if weight is None else buffer.lerp(value.detach(), weight)

    def forward(x: Tensor) -> Tensor:
        normzoo.move_once(buffer, value.double(), weight)
        return x.exp()

    y: Tensor = checkpoint(forward, torch.zeros(3, requires_grad=True), use_reentrant=False)
    y.sum().backward()
    torch.testing.assert_close(buffer, expected)
    assert not buffer.requires_grad


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_forwards_of_one_batch_keep_their_own_corrections(reentrant: bool) -> None:
    """Two of them wait for their backward, as in R-drop: each had other moving statistics."""
    module = made("batch_renorm", 4, momentum=0.3)
    x = values(6, 4, 3, 3)
    plain, other = copy.deepcopy(module), copy.deepcopy(module)
    (plain(x).pow(3) + 2 * plain(x)).sum().backward()
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    first, second = (checkpoint(other, one, use_reentrant=reentrant) for one in inputs)
    (first.pow(3) + 2 * second).sum().backward()
    torch.testing.assert_close(other.weight.grad, plain.weight.grad)


def test_a_batch_that_was_not_finite_does_not_spoil_later_checkpoints() -> None:
    module = made("batch_renorm", 4)
    good = copy.deepcopy(module.state_dict())
    module(torch.full((6, 4, 3, 3), torch.nan, dtype=torch.float64))
    module.load_state_dict(good)
    x = values(6, 4, 3, 3).requires_grad_()
    saved(module, x).pow(3).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm"])
def test_selective_checkpointing_saves_what_it_is_asked_to(name: str, layout: torch.memory_format) -> None:
    """It wants a recomputation to run the operations that forward ran."""

    def policy(context: object, operation: object, *_: object, **__: object) -> CheckpointPolicy:
        convolution = operation is torch.ops.aten.convolution.default
        return CheckpointPolicy.MUST_SAVE if convolution else CheckpointPolicy.PREFER_RECOMPUTE

    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), made(name, 4, momentum=0.3), nn.Conv2d(4, 2, 1)).double()
    other = copy.deepcopy(plain)
    x = values(5, 3, 4, 4).contiguous(memory_format=layout)
    contexts = functools.partial(create_selective_checkpoint_contexts, policy)
    for _ in range(2):
        plain(x).pow(3).sum().backward()
        checkpoint(other, x, use_reentrant=False, context_fn=contexts).pow(3).sum().backward()
    for (key, one), two in zip(plain.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, msg=key)
    torch.testing.assert_close(other.state_dict(), plain.state_dict())


@pytest.mark.parametrize("name", ["batch_norm", "sync_batch_norm", "batch_renorm"])
def test_a_cast_to_a_narrow_type_changes_no_statistic(name: str) -> None:
    """Through float16, a variance above 65,504 would come back infinite, and others rounded."""
    module = normzoo.create(name, 3)
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.tensor([1.2345678, 1e5, 1e-9]))
    before = {key: value.clone() for key, value in module.named_buffers()}
    for cast in (module.half, module.bfloat16):
        after = dict(cast().named_buffers())
        assert all(torch.equal(after[key], value) for key, value in before.items())
    assert module.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
def test_without_a_momentum_batch_norm_averages_all_batches_like_torchs(layout: torch.memory_format) -> None:
    ours, theirs = normzoo.create("batch_norm", 4, momentum=None), nn.BatchNorm2d(4, momentum=None)
    for seed in range(3):
        x = values(6, 4, 3, 3, seed=seed).float().contiguous(memory_format=layout)
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")  # deprecated, and in use
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # the checks of shapes become constants
def test_a_traced_layer_can_be_saved(name: str, layout: torch.memory_format) -> None:
    module, x = made(name, 4, torch.float32).eval(), values(2, 4, 3, 3).float().contiguous(memory_format=layout)
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(module, x), file)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(x), module(x))


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("name", ["layer_norm", "group_norm", "layer_norm_channels"])
def test_float64_input_is_taken_by_a_float32_layer(name: str, layout: torch.memory_format) -> None:
    x = values(3, 8, 2, 3).contiguous(memory_format=layout)
    y = normzoo.create(name, 8)(x)
    assert y.dtype == torch.float64
    torch.testing.assert_close(y, normzoo.create(name, 8).double()(x))


def test_narrow_gradients_are_right_in_every_layout() -> None:
    """A crop, tokens without the class token, a part of the channels: none is contiguous or channels_last."""
    crop = values(8, 16, 65, 64).bfloat16()[:, :, 1:]
    tokens = values(8, 4097, 16).bfloat16()[:, 1:].transpose(1, 2)
    chunk = values(8, 64, 64, 48).bfloat16()[..., :16].permute(0, 3, 1, 2)
    for name in NORMS:
        for x in (crop, tokens, chunk):
            module = normzoo.create(name, 16)
            module(x).sum().backward()
            assert (module.bias.grad == x.numel() // 16).all()


@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm"])
def test_a_layer_that_was_double_runs_when_it_is_cast_to_a_narrow_type(name: str) -> None:
    module = normzoo.create(name, 4).double().bfloat16()
    assert {buffer.dtype for buffer in module.buffers() if buffer.is_floating_point()} == {torch.float32}
    assert module(values(6, 4, 3, 3).bfloat16()).isfinite().all()


@pytest.mark.parametrize("name", NORMS)
def test_an_ensemble_of_layers_is_evaluated_at_once(name: str) -> None:
    layers = [made(name, 4).eval() for _ in range(3)]
    with torch.no_grad():
        for number, layer in enumerate(layers):
            layer.weight.add_(number)
    parameters, buffers = torch.func.stack_module_state(layers)
    x = values(5, 4, 3, 3)

    def one(own: dict[str, Tensor], moving: dict[str, Tensor]) -> Tensor:
        y: Tensor = torch.func.functional_call(layers[0], (own, moving), (x,))
        return y

    torch.testing.assert_close(torch.func.vmap(one)(parameters, buffers), torch.stack([layer(x) for layer in layers]))


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("name", NORMS)
def test_shapes_are_known_without_values(name: str, layout: torch.memory_format) -> None:
    x = torch.empty(5, 16, 3, 3, device="meta").contiguous(memory_format=layout)
    y = normzoo.create(name, 16).to("meta").eval()(x)
    assert (y.shape, y.stride()) == (x.shape, x.stride())


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")  # torch's own use of it
def test_forward_mode_agrees_with_backward_mode(name: str, layout: torch.memory_format) -> None:
    """For batch renorm at its limits, where r and d are constant."""
    module = made(name, 4)
    x = values(3, 4, 2, 3, mean=500.0, std=50.0) if "renorm" in name else values(3, 4, 2, 3)
    x, tangent = (one.contiguous(memory_format=layout) for one in (x, values(3, 4, 2, 3, seed=1)))
    (_, forward) = torch.func.jvp(lambda one: copy.deepcopy(module)(one), (x,), (tangent,))
    g = values(3, 4, 2, 3, seed=2)
    leaf = x.clone().requires_grad_()
    (backward,) = torch.autograd.grad(copy.deepcopy(module)(leaf), leaf, g)
    torch.testing.assert_close((forward * g).sum(), (backward * tangent).sum())


def test_an_exported_batch_renorm_outlives_its_layer() -> None:
    module = made("batch_renorm", 4)
    x = values(6, 4, 3, 3)
    expected = copy.deepcopy(module)(x)
    program = torch.export.export(module, (x,))
    del module
    torch.testing.assert_close(program.module()(x), expected)
