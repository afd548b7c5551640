"""`recalibrate`: population statistics, exact however the data is cut; this file is also the ranks' script."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import references
import timm.layers as tl
import torch
import torch.distributed as dist
from torch import nn
from torch.optim.swa_utils import update_bn

import normzoo
from normzoo.norms import BatchNorm, BatchRenorm, SyncBatchNorm
from normzoo.norms._common import TooFewValuesError
from normzoo.population import CannotRecalibrateError, recalibrate

RANKS = 2


class Probe(nn.BatchNorm2d):
    """A batch norm that notes the population it is told."""

    def set_population(self, mean, var, count):
        self.told = mean, var, count
        self.running_mean.copy_(mean)
        self.running_var.copy_(var)


def data(samples=12, dtype=torch.float64, mean=0.0):
    """Images whose mean and deviation drift from sample to sample: every cut has other moments."""
    x = torch.randn(samples, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=dtype)
    drift = torch.linspace(0, 3, samples, dtype=dtype).view(-1, 1, 1, 1)
    return x * (1 + drift) + drift + mean


def net(norm=nn.BatchNorm2d):
    """Three convolutions, each before a norm, in float64."""
    torch.manual_seed(1)
    layers = []
    for channels_in, channels in ((3, 4), (4, 5), (5, 6)):
        layers += [nn.Conv2d(channels_in, channels, 3, padding=1), norm(channels), nn.ReLU()]
    return nn.Sequential(*layers).double()


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_state(model, before):
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)


def hooks(model):
    return sum(len(module._forward_pre_hooks) for module in model.modules())


def furthest(one, other):
    return max((a - b).abs().max().item() for a, b in zip(one.values(), other.values(), strict=True))


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_first_layer_gets_the_moments_of_all_values(dtype, in_turn):
    x, probe = data(dtype=dtype, mean=1e4), Probe(3).to(dtype)
    recalibrate(probe, x.split([5, 1, 4, 2]), in_turn=in_turn)
    mean, var = references.batch_moments(x.double().numpy())
    np.testing.assert_allclose(probe.told[0], mean, rtol=1e-15)
    np.testing.assert_allclose(probe.told[1], var, rtol=1e-12)
    assert probe.told[0].dtype == probe.told[1].dtype == torch.float64
    assert probe.told[2] == 12 * 6 * 6


def test_torchs_batch_norm_gets_the_unbiased_variance():
    x, layer = data(), nn.BatchNorm2d(3).double()
    recalibrate(layer, x.split([5, 1, 4, 2]))
    np.testing.assert_allclose(layer.running_mean, x.numpy().mean((0, 2, 3)), rtol=1e-14)
    np.testing.assert_allclose(layer.running_var, x.numpy().var((0, 2, 3), ddof=1), rtol=1e-14)


def test_the_average_of_batch_variances_is_not_the_variance_of_all():
    """What torch's own update_bn takes: it differs by far where batches are unequal."""
    x = data()
    average, merged = nn.BatchNorm2d(3).double(), nn.BatchNorm2d(3).double()
    update_bn(x.split([8, 2, 2]), average)
    recalibrate(merged, x.split([8, 2, 2]))
    var = x.var((0, 2, 3))
    assert ((average.running_var - var).abs() > 0.1 * var).all()
    assert ((merged.running_var - var).abs() < 1e-12 * var).all()


def test_in_turn_the_cut_into_batches_does_not_matter():
    one, other = net(), net()
    recalibrate(one, data().split([12]), in_turn=True)
    recalibrate(other, data().split([1, 6, 2, 3]), in_turn=True)
    assert furthest(one.state_dict(), other.state_dict()) < 1e-12


def test_in_turn_every_layer_is_measured_behind_calibrated_ones():
    model = net()
    recalibrate(model, data().split(5), in_turn=True)
    x = data()
    with torch.no_grad():
        for layer in model.eval():
            if isinstance(layer, nn.BatchNorm2d):
                torch.testing.assert_close(layer.running_mean, x.mean((0, 2, 3)), rtol=0, atol=1e-12)
                torch.testing.assert_close(layer.running_var, x.var((0, 2, 3)), rtol=0, atol=1e-12)
            x = layer(x)


def test_in_one_pass_deeper_layers_see_what_batches_normalized():
    model = net()
    recalibrate(model, data().split(6))
    with torch.no_grad():
        parts = [model[:4].train()(part) for part in data().split(6)]
    torch.testing.assert_close(model[4].running_var, torch.cat(parts).var((0, 2, 3)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, BatchRenorm])
def test_in_one_pass_the_order_of_batches_does_not_matter(norm):
    one, other = net(norm), net(norm)
    batches = data().split([5, 3, 4])
    recalibrate(one, batches)
    recalibrate(other, batches[::-1])
    assert furthest(one.state_dict(), other.state_dict()) < 1e-12


def test_batch_renorm_is_not_corrected_towards_statistics_that_are_about_to_go():
    """With all data in one batch every layer sees what it will see, whatever the old statistics were."""
    at_once, in_turn = net(BatchRenorm), net(BatchRenorm)
    for model in (at_once, in_turn):
        for layer in model[1::3]:
            layer.running_mean.fill_(0.3)
            layer.running_std.fill_(0.4)  # as averages over small batches are: too small
    recalibrate(at_once, [data()])
    recalibrate(in_turn, [data()], in_turn=True)
    for ours, theirs in zip(at_once[1::3], in_turn[1::3], strict=True):
        torch.testing.assert_close(ours.running_mean, theirs.running_mean)
        torch.testing.assert_close(ours.running_std, theirs.running_std)
        assert (ours.r_max, ours.d_max) == (3.0, 5.0)


def test_batch_renorm_normalizes_by_the_data_afterwards():
    layer = BatchRenorm(3).double()
    recalibrate(layer, data().split(5))
    y = layer.eval()(data())
    torch.testing.assert_close(y.var((0, 2, 3), correction=0), torch.ones(3).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in normzoo.names() if normzoo.card(name).running_stats])
def test_every_normalizer_with_running_statistics_equals_batch_norm_afterwards(name):
    one, other = normzoo.create(name, 3).double(), nn.BatchNorm2d(3).double()
    recalibrate(one, data().split([5, 1, 6]))
    recalibrate(other, [data()])
    # batch renorm keeps the biased variance of 432 values, batch norm the unbiased one: 1/864 of at most 5
    torch.testing.assert_close(one.eval()(data()), other.eval()(data()), rtol=0, atol=0.006)


def test_a_layer_that_runs_several_times_merges_all_its_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3).double()

        def forward(self, x):
            return self.norm(x[:, :, :2]).mean() + self.norm(input=x[:, :, 2:]).mean()

    model = Twice()
    recalibrate(model, data().split(5))
    torch.testing.assert_close(model.norm.running_var, data().var((0, 2, 3)), rtol=1e-12, atol=0)


def test_layers_are_taken_in_the_order_of_their_calls_and_not_of_their_registration():
    class Backwards(nn.Sequential):
        def forward(self, x):
            for layer in reversed(self):
                x = layer(x)
            return x

    forwards = net()
    backwards = Backwards(*reversed(copy.deepcopy(forwards)))
    recalibrate(forwards, data().split(5), in_turn=True)
    recalibrate(backwards, data().split(5), in_turn=True)
    torch.testing.assert_close(backwards[1].running_var, forwards[7].running_var, rtol=0, atol=0)


@pytest.mark.parametrize("in_turn", [False, True])
def test_a_layer_that_never_runs_keeps_its_statistics(in_turn):
    model = net()
    model[7].running_mean.fill_(7)
    recalibrate(model, [data()], in_turn=in_turn, call=lambda model, batch: model[:7](batch))
    assert (model[7].running_mean == 7).all()
    assert (model[4].running_mean != 0).all()


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_all_else_is_left_as_it_was(training, in_turn):
    model = nn.Sequential(nn.Dropout(), *net(BatchRenorm)).train(training)
    model[5].train(not training)
    modes, before, random = [m.training for m in model.modules()], state(model), torch.get_rng_state()
    loader = torch.utils.data.DataLoader(data(), 5, shuffle=True)  # draws from torch's random state
    recalibrate(model, loader, in_turn=in_turn)
    assert [m.training for m in model.modules()] == modes
    assert {name for name in before if not torch.equal(before[name], model.state_dict()[name])} == {
        f"{index}.running_{kind}" for index in (2, 5, 8) for kind in ("mean", "std")
    }
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
    assert hooks(model) == 0


# one pass over 3 batches, or 3 of them
@pytest.mark.parametrize(("in_turn", "failing"), [(False, 0), (False, 2), (True, 0), (True, 2), (True, 7)])
def test_all_is_as_before_when_a_batch_raises(failing, in_turn):
    model, calls = net(BatchRenorm), []
    before = state(model)

    def call(model, batch):
        calls.append(model(batch))
        if len(calls) == failing + 1:
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        recalibrate(model, data().split(4), in_turn=in_turn, call=call)
    assert_same_state(model, before)
    assert hooks(model) == 0
    assert all(module.training for module in model.modules())


def test_all_is_as_before_when_a_layer_refuses_its_population():
    class Refusing(Probe):
        def set_population(self, mean, var, count):
            super().set_population(mean, var, count)
            raise RuntimeError("not mine")

    model = nn.Sequential(nn.BatchNorm2d(3), Refusing(3)).double()
    before = state(model)
    with pytest.raises(RuntimeError, match="not mine"):
        recalibrate(model, [data()])
    assert_same_state(model, before)


def test_dropout_is_not_active_also_where_it_is_fused_into_a_norm():
    fused = tl.BatchNormAct2d(3, drop_layer=nn.Dropout)
    one = nn.Sequential(nn.Dropout(0.9), fused, nn.BatchNorm2d(3)).double()
    other = nn.Sequential(copy.deepcopy(one[1]), nn.BatchNorm2d(3)).double()
    other[0].drop = nn.Identity()
    recalibrate(one, [data()])
    recalibrate(other, [data()])
    assert furthest(one.state_dict(), other.state_dict()) == 0


def test_random_augmentation_is_the_same_in_every_pass():
    seen = []

    def call(model, batch):
        seen.append(batch + torch.randn(1))
        model(seen[-1].double())

    recalibrate(net(), [data()], in_turn=True, call=call)
    assert len(seen) == 3
    assert torch.equal(seen[0], seen[1])


def test_a_converted_layer_over_the_last_axis_is_measured_per_channel():
    """Channels-last tokens: the hook sees what the layer's forward sees, [N, C, T]."""
    tokens = data().flatten(2).transpose(1, 2).repeat(1, 1, 2)  # [N, T, 6]
    model = normzoo.convert(nn.Sequential(nn.LayerNorm(6).double()), "batch_norm")
    recalibrate(model, tokens.split(5))
    torch.testing.assert_close(model[0].running_var, tokens.flatten(0, 1).var(0), rtol=1e-12, atol=0)


def test_a_compiled_model_is_measured_too():
    """Compiled code looks at no hook that came after it, unless something else makes it compile anew."""
    compiled, eager = net(), net()
    compiled.eval().forward = torch.compile(compiled.forward, backend="eager")
    with torch.no_grad():
        compiled(data())
    recalibrate(compiled, [data()], in_turn=True)
    recalibrate(eager, [data()], in_turn=True)
    assert furthest(compiled.state_dict(), eager.state_dict()) == 0


def test_no_gradient_is_recorded():
    recorded = []
    recalibrate(net(), [data()], call=lambda model, batch: recorded.append(model(batch).requires_grad))
    assert recorded == [False]


def test_batches_of_several_parts_give_the_model_their_first():
    layer = nn.BatchNorm2d(3).double()
    recalibrate(layer, [(data(), torch.zeros(12)), [data(), None]])
    torch.testing.assert_close(layer.running_mean, data().mean((0, 2, 3)), rtol=1e-12, atol=0)


def test_an_empty_batch_counts_nothing():
    layer = Probe(3).double().eval()
    recalibrate(layer, [data(), data()[:0]], in_turn=True)
    assert layer.told[2] == 12 * 6 * 6
    assert torch.isfinite(layer.told[1]).all()


@pytest.mark.parametrize("in_turn", [False, True])
def test_without_batches_it_refuses(in_turn):
    with pytest.raises(CannotRecalibrateError, match="at least one batch"):
        recalibrate(net(), [], in_turn=in_turn)


def test_in_turn_refuses_what_can_be_iterated_once():
    with pytest.raises(CannotRecalibrateError, match="got a generator; give a list or a DataLoader"):
        recalibrate(net(), (batch for batch in [data()]), in_turn=True)


@pytest.mark.parametrize("model", [net(), nn.Linear(2, 2)], ids=["net", "without statistics"])
def test_one_tensor_is_no_list_of_batches(model):
    """Its rows would be taken for batches."""
    with pytest.raises(CannotRecalibrateError, match=r"got one tensor of shape \(12, 3, 6, 6\); give a list of it"):
        recalibrate(model, data())


@pytest.mark.parametrize("batch", [{"image": data()}, "image", ["image", 1]])
def test_where_a_batch_is_not_the_models_input_the_error_names_call(batch):
    with pytest.raises((TypeError, AttributeError)) as caught:
        recalibrate(net(), [batch])
    [note] = caught.value.__notes__
    assert "give call=" in note


def test_an_error_on_a_tensor_has_no_note_of_call():
    with pytest.raises(RuntimeError) as caught:
        recalibrate(net(), [data()[:, :2]])
    assert not getattr(caught.value, "__notes__", [])


def test_one_pass_takes_a_generator():
    recalibrate(net(), (batch for batch in [data()]))


def test_a_model_without_running_statistics_is_left_alone_and_no_batch_is_read():
    def unread():
        raise AssertionError
        yield

    recalibrate(normzoo.convert(net(), "group_norm"), unread())


def test_batches_that_reach_no_layer_are_refused():
    with pytest.raises(CannotRecalibrateError, match="no batch reached '1', '4', '7'"):
        recalibrate(net(), [data()], call=lambda model, batch: None)


def test_a_single_value_per_channel_is_refused():
    with pytest.raises(TooFewValuesError, match="the model saw a single value"):
        recalibrate(nn.BatchNorm2d(3).double(), [data()[:1, :, :1, :1]], in_turn=True)


def test_values_that_are_not_finite_are_refused_and_change_nothing():
    model = net()
    before = state(model)
    with pytest.raises(CannotRecalibrateError, match="'1' saw values that are not finite"):
        recalibrate(model, [data(), data() * float("inf")])
    assert_same_state(model, before)


def test_an_input_without_channels_is_refused():
    with pytest.raises(CannotRecalibrateError, match=r"'0' got shape \(3,\)"):
        recalibrate(nn.Sequential(nn.BatchNorm1d(3)), [torch.zeros(3)])


def test_a_layer_with_statistics_of_its_own_making_is_named():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.InstanceNorm2d(4, track_running_stats=True)))
    with pytest.raises(CannotRecalibrateError, match=r"'1\.0' \(.*InstanceNorm2d\) .* set_population"):
        recalibrate(model, [data()])


def test_a_registered_normalizer_that_claims_running_statistics_is_named():
    @normzoo.register("secretive", paper="none", year=None, pools={"batch"}, running_stats=True)
    class Secretive(nn.Module):
        pass

    with pytest.raises(CannotRecalibrateError, match=r"the model \(.*Secretive\) .* set_population"):
        recalibrate(Secretive(), [data()])


def test_a_registered_normalizer_built_around_a_batch_norm_is_recalibrated():
    @normzoo.register("built_around", paper="none", year=None, pools={"batch", "space"}, running_stats=True)
    class BuiltAround(nn.Module):
        def __init__(self, num_features):
            super().__init__()
            self.inner = nn.Sequential(nn.BatchNorm2d(num_features))

        def forward(self, x):
            return self.inner(x)

    layer = BuiltAround(3).double()
    recalibrate(layer, [data()])
    torch.testing.assert_close(layer.inner[0].running_mean, data().mean((0, 2, 3)), rtol=1e-12, atol=0)


def test_a_layer_without_channels_yet_is_named():
    with pytest.raises(CannotRecalibrateError, match="the model does not know its channels yet"):
        recalibrate(nn.LazyBatchNorm2d(), [data()])


@pytest.mark.parametrize(
    "other",
    [
        tl.FrozenBatchNormAct2d(3),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.InstanceNorm2d(3),
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 3, 1)),
    ],
    ids=lambda module: type(module).__name__,
)
def test_other_buffers_raise_no_alarm(other):
    other = other.double()
    other.register_buffer("running_loss", torch.zeros(()))
    before = state(other)
    recalibrate(nn.Sequential(other, nn.BatchNorm2d(3).double()), [data()])
    assert_same_state(other, before)


def test_a_frozen_layer_of_torch_that_eval_reads_is_recalibrated():
    layer = nn.BatchNorm2d(3).double().requires_grad_(False).eval()
    recalibrate(layer, [data()])
    torch.testing.assert_close(layer.running_mean, data().mean((0, 2, 3)), rtol=1e-12, atol=0)


def test_narrow_models_keep_their_wide_statistics():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNorm(4)).bfloat16()
    recalibrate(model, data(dtype=torch.bfloat16).split(5))
    assert model[1].running_var.dtype == torch.float32


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two gloo processes had at its end: rank 0 with two batches, rank 1 with one or none."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(folder)]
    workers = [
        subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True, env=environment)
        for rank in range(RANKS)
    ]
    try:
        errors = [worker.communicate(timeout=60)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], errors
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


def test_ranks_with_unequal_batches_equal_one_process_with_all(ranks):
    alone = net()
    recalibrate(alone, [data()], in_turn=True)
    for of_rank in ranks:
        assert furthest(of_rank["in turn"], alone.state_dict()) < 1e-12


def test_in_one_pass_ranks_equal_one_process_with_all_their_batches(ranks):
    alone = net()
    recalibrate(alone, data().split([5, 3, 4]))
    for of_rank in ranks:
        assert furthest(of_rank["one pass"], alone.state_dict()) < 1e-12


def test_a_rank_without_batches_ends_with_the_statistics_of_the_others(ranks):
    alone = net()
    recalibrate(alone, data()[:8].split(5))
    for of_rank in ranks:
        assert furthest(of_rank["one idle"], alone.state_dict()) < 1e-12


def test_layers_that_talk_in_training_see_the_batch_of_all_ranks(ranks):
    alone = net()
    recalibrate(alone, [data()])
    for of_rank in ranks:
        assert furthest(of_rank["synchronized"], alone.state_dict()) < 1e-12


def test_when_one_rank_fails_all_raise_and_keep_their_statistics(ranks):
    assert [of_rank["raised"] for of_rank in ranks] == ["rank 1 failed with KeyError: 'lost'", "'lost'"]
    for of_rank in ranks:
        assert furthest(of_rank["after failure"], net().state_dict()) == 0


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    meeting = (folder / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=RANKS, timeout=timedelta(seconds=30))
    parts = data().split([5, 3, 4])
    batches = parts[:2] if rank == 0 else parts[2:]
    results = {}
    for name, norm, options, own in (
        ("in turn", nn.BatchNorm2d, {"in_turn": True}, batches),
        ("one pass", nn.BatchNorm2d, {}, batches),
        ("one idle", nn.BatchNorm2d, {}, batches if rank == 0 else []),
        ("synchronized", SyncBatchNorm, {}, [torch.cat(batches)]),
    ):
        model = net(norm)
        recalibrate(model, own, **options)
        results[name] = state(model)
    model = net()

    def call(model, batch):
        model(batch)
        if rank == 1:
            raise KeyError("lost")

    try:
        recalibrate(model, batches, call=call)
    except (CannotRecalibrateError, KeyError) as error:
        results["raised"] = str(error)
    results["after failure"] = state(model)
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
