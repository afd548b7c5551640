"""What `pytest bench/` compares with, how it is checked before it is timed, and the table that comes last."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import peers
from cases import RESNET, Case, paired, saved, step_of
from check import fault
from naive import NAIVE
from normzoo_bench.timing import Pairs, allocator
from ratios import Row, Rows, text
from rivals import IMPLEMENTATIONS, Implementation
from selection import selected

ROOT = Path(__file__).resolve().parents[2]
SMALL = Case("6x3x2", 4, torch.float32, "contiguous", "cpu")
LAST = Case("6x3x2", 4, torch.bfloat16, "channels_last", "cpu")
PLAIN = Case("6", 4, torch.float32, "contiguous", "cpu")
QUICK = [one for one in IMPLEMENTATIONS.values() if not one.name.startswith("compiled") and not one.missing(SMALL)]


@pytest.fixture(scope="module")
def references():
    spec = importlib.util.spec_from_file_location("zoo_references", ROOT / "tests" / "zoo" / "references.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)  # its dataclass looks itself up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def drawn(name, groups=2):
    torch.manual_seed(0)
    layer = NAIVE[name](6, groups).double()
    nn.init.normal_(layer.weight), nn.init.normal_(layer.bias)
    return layer, torch.randn(4, 6, 3, 2, dtype=torch.float64) * 2 + 1


@pytest.mark.parametrize("name", ["batch_norm", "group_norm", "layer_norm", "layer_norm_channels"])
def test_a_naive_version_is_what_the_paper_says(name, references):
    layer, x = drawn(name)
    options = {"groups": 2} if name == "group_norm" else {}
    weight, bias = (parameter.detach().numpy() for parameter in (layer.weight, layer.bias))
    expected = getattr(references, name)(x.numpy(), weight=weight, bias=bias, **options)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_naive_batch_renorm_is_what_the_paper_says_in_training_and_in_eval(references):
    layer, x = drawn("batch_renorm")
    weight, bias = (parameter.detach().numpy() for parameter in (layer.weight, layer.bias))
    reference = references.BatchRenorm(6)
    for step in range(3):
        batch = x * (1 + 2 * step) + step  # at first within the limits of r, then beyond
        expected = reference.train(batch.numpy(), weight, bias)
        np.testing.assert_allclose(layer(batch).detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    expected = reference.infer(x.numpy(), weight, bias)
    np.testing.assert_allclose(layer.eval()(x).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_naive_batch_renorm_holds_r_and_d_constant_in_its_gradients(references):
    layer, x = drawn("batch_renorm")
    gradient = torch.randn_like(x)
    found = torch.autograd.grad(layer(x.requires_grad_()), [x, layer.weight, layer.bias], gradient)
    values = x.detach().numpy()
    mean, var = references.batch_moments(values)
    r, d = np.clip(np.sqrt(var + 1e-5), 1 / 3, 3), np.clip(mean, -5, 5)
    weight = layer.weight.detach().numpy()
    expected = references.batch_renorm_gradients(values, gradient.numpy(), weight, r, d)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", [SMALL, LAST, PLAIN], ids=["float32", "bfloat16 channels_last", "without space"])
@pytest.mark.parametrize("one", QUICK, ids=str)
def test_every_implementation_that_runs_here_agrees_with_its_formula_in_float64(one, case, training):
    assert one.missing(case) or fault(one, case, training) == ""


@pytest.mark.slow  # compiles
@pytest.mark.parametrize("name", [name for name in NAIVE if name != "none"])
def test_a_compiled_naive_version_has_the_gradients_of_its_formula(name):
    """torch.compile recomputes r and d in backward: from statistics that were moved in place they would be wrong."""
    one = IMPLEMENTATIONS[f"compiled naive {name}"]
    if reason := one.missing(SMALL):
        pytest.skip(reason)
    assert fault(one, SMALL, True) == ""


class Spoilt(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) * 1.01


class Wrong(nn.BatchNorm2d):
    """Right in its output, wrong in its gradients."""

    by = 1.01

    def forward(self, x):
        y = super().forward(x)
        y.register_hook(lambda gradient: gradient * self.by)
        return y


class Empty(Wrong):
    by = float("nan")


class Raises(nn.BatchNorm2d):
    def forward(self, x):
        raise NotImplementedError("no kernel\nfor this")


class Stopped(nn.BatchNorm2d):
    """No gradient passes through its statistics."""

    def forward(self, x):
        var, mean = torch.var_mean(x.detach().float(), [0, 2, 3], correction=0)
        return nn.functional.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)


class Half(nn.BatchNorm2d):
    """Its statistics are those of half of the samples, and constant."""

    def forward(self, x):
        var, mean = torch.var_mean(x[: len(x) // 2].detach().float(), [0, 2, 3], correction=0)
        return nn.functional.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)


@pytest.mark.parametrize("case", [SMALL, LAST, Case("8x28x28", 16, torch.bfloat16, "contiguous", "cpu")])
@pytest.mark.parametrize("layer", [Spoilt, Wrong, Empty, Stopped, Half])
def test_an_implementation_that_is_off_is_told(layer, case):
    if layer in (Spoilt, Wrong) and case.dtype == torch.bfloat16:
        pytest.skip("a hundredth is within bfloat16's tolerance")
    one = Implementation("spoilt", "batch_norm", lambda case: layer(case.channels))
    assert fault(one, case, True).startswith("spoilt is off by ")


def test_what_a_rival_raises_is_its_fault_and_what_a_layer_of_ours_raises_is_raised():
    rival, ours = (
        Implementation("broken", "batch_norm", lambda case: Raises(case.channels), ours=ours) for ours in (False, True)
    )
    assert fault(rival, SMALL, True) == "broken raised NotImplementedError: no kernel"
    with pytest.raises(NotImplementedError):
        fault(ours, SMALL, True)


def test_what_is_not_installed_is_missing_for_that_reason(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    found = [peers.no_torchrl(SMALL), peers.no_keras(SMALL), peers.no_liger(SMALL)]
    assert found == [f"{package} is not installed" for package in ("torchrl", "keras", "liger_kernel")]


def test_keras_on_another_backend_is_not_compared(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert peers.no_keras(SMALL) == "keras runs on jax; set KERAS_BACKEND=torch"


class Saves(nn.Module):
    """Keeps x and its exponential for backward, the latter twice, and the weight."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x):
        power = x.exp()
        return power * x * self.weight + power.view(-1).sum() * 0 + self.bias


def test_saved_for_backward_is_counted_once_per_storage_and_without_parameters():
    # kept: x, exp(x) and their product, which the weight's gradient needs
    assert saved(Saves(), SMALL) == 3


@pytest.mark.parametrize("direction", ["forward", "forward_backward", "eval"])
def test_a_step_wants_gradients_in_training_and_none_in_eval(direction):
    seen = []

    class Looks(nn.BatchNorm2d):
        def forward(self, x):
            seen.append((self.training, x.requires_grad, torch.is_inference_mode_enabled()))
            return super().forward(x)

    step_of(Looks(6), SMALL, direction)()
    assert seen[-1] == (direction != "eval", direction != "eval", direction == "eval")


@pytest.mark.parametrize(("ms", "expected"), [(400.0, 9), (30.0, 17), (1.0, 31)])
def test_slow_pairs_are_timed_less_often_within_bounds(ms, expected):
    pairs = paired(lambda: None, lambda: None, lambda step, count: ms * count)
    assert len(pairs.candidate) == len(pairs.reference) == expected


# ---------------------------------------------------------------- the table


LARGE = Case("64x56x56", 32, torch.float32, "contiguous", "cpu")


def row(case=LARGE, rival="nn.BatchNorm2d", **changes):
    return Row("batch_renorm", rival, case, Pairs([1.0, 2.0, 4.5], [2.0, 2.0, 3.0]), **changes)


def test_the_ratio_is_the_median_of_paired_ratios_and_not_a_ratio_of_medians():
    """Ratios are 1/2, 1/4 and 3; the medians would give 2/3."""
    found = Row("a", "b", LARGE, Pairs([1.0, 2.0, 9.0], [2.0, 8.0, 3.0])).numbers()
    assert (found["ratio"], found["ratio_p10"], found["ratio_p90"]) == pytest.approx((0.5, 0.3, 2.5))


def test_what_stands_in_json_can_be_written_as_json():
    assert json.loads(json.dumps(row(saved=(1.0, 3.0)).numbers()))["rival_saved_t"] == 3.0


def test_large_inputs_come_first_and_small_ones_are_marked():
    found = text(Rows([row(SMALL), row()]), "a CPU, torch 9, one thread")
    lines = found.splitlines()
    assert lines[0] == "a CPU, torch 9, one thread"
    titles = [line.strip() for line in lines if "batch " in line and "one process" in line]
    assert titles == ["64x56x56, batch 32, one process", "6x3x2, batch 4, one process"]
    assert [line.split()[-1] for line in lines if line.startswith(" batch_renorm")] == ["(0.60–1.40)", "(0.60–1.40)*"]
    assert "T = 25.7 MB" in found
    assert "* T is below 6 MB" in found


def test_what_was_not_timed_is_said_once_with_its_reason():
    missing = [Row("batch_renorm", "keras", case, missing="keras is not installed") for case in (SMALL, LARGE)]
    found = text(Rows([row(), *missing]), "")
    assert found.count("not timed: keras is not installed") == 1
    assert "batch_renorm / keras" not in found


def test_what_is_kept_for_backward_is_told_of_large_inputs_as_a_range():
    wide = Case("64x56x56", 32, torch.bfloat16, "contiguous", "cpu")
    rows = [row(saved=(1.0, 3.0)), row(wide, saved=(1.0, 6.0)), row(SMALL, saved=(2.0, 9.0))]
    assert "batch_renorm 1.00, nn.BatchNorm2d 3.00–6.00" in text(Rows(rows), "")


def test_notes_are_said_once():
    rows = Rows()
    for _ in range(2):
        rows.add(row(), "not compared with it")
    assert text(rows, "").count("not compared with it") == 1


# ---------------------------------------------------------------- options, collection


class Config:
    def __init__(self, **options):
        self.options = {"--shapes": "", "--full": False, "--batch-size": None} | options

    def getoption(self, name):
        return self.options[name]


def test_full_reaches_every_norm_shape_of_resnet_50_in_every_dtype_and_layout():
    found = {(one.shape, one.dtype_name, one.layout) for one in selected(Config(**{"--full": True}), ["8"])}
    layouts, dtypes = ("contiguous", "channels_last"), ("float32", "bfloat16")
    assert found >= {(shape, dtype, layout) for shape in RESNET for dtype in dtypes for layout in layouts}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--shapes": "64x56"}, "a shape is C or CxHxW, as in 256 or 64x56x56, got '64x56'"),
        ({"--batch-size": 1}, "--batch-size needs 2 samples or more, got 1"),
    ],
)
def test_an_option_that_makes_no_case_is_a_usage_error(options, message):
    with pytest.raises(pytest.UsageError) as error:
        selected(Config(**options), ["8"])
    assert str(error.value) == message


def test_the_allocator_is_left_alone_without_glibc(monkeypatch):
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)  # not to be called
    assert allocator.keep_freed_memory() is False


def run_bench(*arguments, what="bench"):
    command = [sys.executable, "-m", "pytest", what, "-q", "-p", "no:cacheprovider", *arguments]
    # under `pytest -n` pytest-benchmark would warn here, too, that it does not time
    apart = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_XDIST")}
    return subprocess.run(command, cwd=ROOT, env=apart, capture_output=True, text=True, timeout=240)


def test_the_benchmarks_can_be_collected():
    done = run_bench("--collect-only", "--shapes", "6x3x2")
    assert done.returncode == 0, done.stdout + done.stderr
    for file in ("bench_layers.py::bench_layer", "bench_ratios.py::bench_ratio", "bench_sync.py::bench_sync"):
        assert f"bench/{file}[" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--shapes", "foo"], "got 'foo'"), (["--batch-size", "0"], "--batch-size needs 2 samples or more, got 0")],
)
def test_a_wrong_option_is_told_once_and_without_a_traceback(options, message):
    done = run_bench("--collect-only", *options)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert (done.stdout + done.stderr).count(message) == 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture
def saved_session(tmp_path):
    """Give a function that saves a session of one benchmark, its times multiplied, and holds a new one against it."""
    wanted = "batch_norm and not sync and not naive and not compiled and float32 and contiguous and eval"
    chosen = ["--shapes", "6x3x2", "--batch-size", "4", "-k", wanted, f"--benchmark-storage={tmp_path}"]
    layers = "bench/bench_layers.py"

    def compared(factor):
        done = run_bench("--benchmark-save=before", *chosen, what=layers)
        assert done.returncode == 0, done.stdout + done.stderr
        (file,) = tmp_path.rglob("*before.json")
        session = json.loads(file.read_text(encoding="utf-8"))
        for one in session["benchmarks"]:
            one["stats"] |= {key: one["stats"][key] * factor for key in ("min", "mean", "median", "max")}
        file.write_text(json.dumps(session), encoding="utf-8")
        return run_bench("--benchmark-compare=0001", "--benchmark-compare-fail=median:100%", *chosen, what=layers)

    return compared


@pytest.mark.slow  # starts two sessions
@pytest.mark.parametrize(("factor", "regressed"), [(1 / 50, True), (50, False)])
def test_a_session_fails_where_it_is_slower_than_a_saved_one(saved_session, factor, regressed):
    done = saved_session(factor)
    assert ("Performance has regressed" in done.stdout + done.stderr) is regressed
    assert (done.returncode != 0) is regressed


@pytest.mark.slow  # starts processes that talk
def test_a_small_session_ends_with_the_table_and_keeps_its_rows_in_json(tmp_path):
    wanted = "float32 and contiguous and nn.BatchNorm2d or float32 and all-reduce"
    file = tmp_path / "bench.json"
    done = run_bench("--shapes", "6x3x2", "--batch-size", "4", "-k", wanted, f"--benchmark-json={file}")
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.rpartition(" ratios ")[2]
    assert "batch_renorm / nn.BatchNorm2d" in table
    assert "sync_batch_norm / naive all-reduce" in table
    found = [one["extra_info"] for one in json.loads(file.read_text(encoding="utf-8"))["benchmarks"]]
    pairs = {(one["where"], one["candidate"], one["rival"]) for one in found if "ratio" in one}
    assert ("one process", "batch_renorm", "nn.BatchNorm2d") in pairs
    assert ("2 gloo processes", "sync_batch_norm", "naive all-reduce") in pairs
