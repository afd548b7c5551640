"""Ranks as real processes: they compute what virtual ranks compute, and whatever happens to one, none is left.

The file is also the program of such ranks: ``python test_processes.py FOLDER PARENT``.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

import normzoo
import normzoo_bench
from normzoo_bench import accuracy, data
from normzoo_bench.checks import check_devices
from normzoo_bench.errors import UsageError
from normzoo_bench.processes import launch, machines, rank
from normzoo_bench.processes.training import RankTraining, backend, begin, join
from normzoo_bench.ranks import VirtualRanks, virtualize
from normzoo_bench.result import CannotRun, Diverged, RankFailed, Result
from normzoo_bench.running.pool import default_jobs
from normzoo_bench.running.process import prepare
from normzoo_bench.training.trainer import Training, eager, train
from normzoo_suites import Cell, parse_call, read_run
from normzoo_suites.settings import AccuracySettings

RANKS = 3
# a statistic of 3 values, as group norm's own groups have in the mlp, makes a rounding error 20 times larger in each
# step: a weight changed by 1e-7 then moves the accuracy after training from .76 to .55 or .82. With 12 it does not
NAMES = ["group_norm(groups=8)" if name == "group_norm" else name for name in normzoo.names()]
CONDITIONS = {  # model, buffers, samples of a batch
    "unequal parts": ("mlp", "rank0", 49),
    "unequal parts, mean buffers": ("small_convnet", "mean", 11),
    "equal parts": ("small_convnet", "rank0", 12),
}
PROC = pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="looks at processes through /proc")


class Drawn:
    """Batches of noise, in float64 or float32."""

    def __init__(self, steps, count, dtype):
        torch.manual_seed(1)
        self.steps = steps
        self.images = torch.randn(steps, count, 1, 8, 8).to(dtype)
        self.labels = torch.randint(10, (steps, count))

    def begin(self, epoch):
        self.at = iter(zip(self.images, self.labels, strict=True))

    def take(self):
        return next(self.at)


def cell(**changes):
    settings = {"dataset": "digits", "epochs": 1, "learning_rate": 0.01, "schedule": "constant"}
    return AccuracySettings.model_validate(settings | changes)


def trained(name, condition, steps, dtype, make):
    """Train a model on noise, and give its weights and the buffers that are read."""
    model, buffers, count = CONDITIONS[condition]
    settings = cell(normalizer=name, model=model, buffers=buffers, batch_size=count)
    net = accuracy.build(settings, data.load("digits", "digits"), steps).to(dtype)
    training = make(net, normzoo.card(parse_call(name).name), Drawn(steps, count, dtype), settings)
    train([training], 0, 1, eager)
    if isinstance(training, RankTraining):
        training.gather()
    found = {}
    for path, layer in net.named_modules():
        if isinstance(layer, VirtualRanks):
            layer.read(buffers)
            found |= {f"{path}.{key} of every rank": state for key, state in layer.states.items()}
    return found | net.state_dict()


def virtual(net, card, batches, settings):
    virtualize(net, card, RANKS, settings.buffers)
    return Training(net, batches, settings)


def whole(name, seed=0, backend="virtual"):
    """The settings of a whole training, read in every way."""
    return cell(
        normalizer=name,
        model="mlp",
        epochs=2,
        batch_size=48,
        ranks=RANKS,
        ranks_backend=backend,
        learning_rate=0.1,
        readings="all",
        frozen_from=0.5,
        seed=seed,
    )


def work(folder):
    """What a rank of the fixture `ran` does; one launch for all normalizers, since a start takes seconds."""
    own = int(os.environ["RANK"])
    found = {"states": {}, "cells": {}}
    join(folder, "cpu")
    found["backend"] = dist.get_backend()
    for name in NAMES:
        for condition in CONDITIONS:
            found["states"][name, condition, 20] = trained(name, condition, 20, torch.float64, begin)
            found["states"][name, condition, 1] = trained(name, condition, 1, torch.float32, begin)
    found["listens"] = listens()
    dist.destroy_process_group()
    for name in NAMES:
        meeting = folder / name
        meeting.mkdir(exist_ok=True)
        ended = rank.measure([whole(name)], data.load("digits", "digits"), lambda at=meeting: join(at, "cpu"), own)
        found["cells"][name] = ended
    torch.save(found, folder / f"found-{own}.pt")


def listens():
    """The addresses at which this process waits for others, as the kernel writes them."""
    table = Path("/proc/self/net/tcp")
    if not table.exists():
        return set()
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_socket()]
    own = {str(link.stat().st_ino) for link in links}
    rows = [line.split() for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in own}


def main(folder, parent):
    prepare(parent, (), folder)
    try:
        work(folder)
    except BaseException as error:
        rank.tell(folder, int(os.environ["RANK"]), error, __file__)
        raise


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks") / "of a user with spaces, and 50 % more"
    folder.mkdir()
    launch.run([__file__, str(folder), str(os.getpid())], RANKS, folder)
    return [torch.load(folder / f"found-{own}.pt", weights_only=False) for own in range(RANKS)]


@pytest.mark.slow
@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", NAMES)
def test_processes_compute_what_virtual_ranks_compute(ran, name, condition):
    for steps, dtype, bound in ((20, torch.float64, 1e-10), (1, torch.float32, 1e-6)):
        expected = trained(name, condition, steps, dtype, virtual)
        got = ran[0]["states"][name, condition, steps]
        assert got.keys() == expected.keys()
        torch.testing.assert_close(got, expected, rtol=bound, atol=bound)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_rank_has_the_same_weights_to_the_bit(ran, name):
    for condition in CONDITIONS:
        states = [one["states"][name, condition, 20] for one in ran]
        for key in states[0]:
            assert all(torch.equal(states[0][key], other[key]) for other in states[1:]), key


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_whole_training_has_the_metrics_of_the_virtual_one_within_the_spread_of_seeds(ran, name, digits):
    virtual_ones = [accuracy.measure(whole(name, seed), digits) for seed in range(4)]
    (got,) = ran[0]["cells"][name]
    assert [one["cells"][name] for one in ran[1:]] == [[]] * (RANKS - 1)
    assert got.metrics.keys() == virtual_ones[0].metrics.keys()
    assert got.options == virtual_ones[0].options
    for metric in (one for one in got.metrics if one.startswith("test_accuracy")):
        of_seeds = [one.metrics[metric] for one in virtual_ones]
        assert abs(got.metrics[metric] - of_seeds[0]) <= max(of_seeds) - min(of_seeds), metric


@PROC
@pytest.mark.slow
def test_on_cpu_ranks_talk_by_gloo_and_listen_to_this_machine_only(ran):
    assert backend("cpu") == "gloo"
    for one in ran:
        assert one["backend"] == "gloo"
        assert one["listens"] == {"0100007F"}  # 127.0.0.1


@pytest.mark.parametrize("name", ["batch_norm", "batch_renorm"])
def test_virtual_ranks_take_parts_of_different_sizes(name):
    """Ten samples on three ranks: 4, 3 and 3, each with a layer of its own."""
    torch.manual_seed(0)
    layer = normzoo.create(name, 4).double()
    own = [normzoo.create(name, 4).double() for _ in range(RANKS)]
    x = torch.randn(10, 4, 2, 2, dtype=torch.double)
    y = VirtualRanks(layer, normzoo.card(name), RANKS, "mean")(x)
    for number, one in enumerate(own):
        torch.testing.assert_close(y[number::RANKS], one(x[number::RANKS]))


def test_without_a_process_group_a_ranks_training_is_a_plain_one():
    """As the branch with frozen statistics is trained, by rank 0 alone."""
    states = []
    for kind in (Training, lambda *given: RankTraining(given[0], normzoo.card("batch_renorm"), *given[1:])):
        settings = cell(normalizer="batch_renorm", model="mlp", batch_size=10)
        net = accuracy.build(settings, data.load("digits", "digits"), 3)
        training = kind(net, Drawn(3, 10, torch.float32), settings).branch()
        train([training], 0, 1, eager)
        states.append(training.model.state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ranks": 1}, "more than one rank, got ranks = 1; use ranks = 2 or more"),
        ({"local_epochs": 1, "buffers": "mean"}, "got local_epochs = 1; use local_epochs = 0"),
        ({"data": "stream"}, 'got data = "stream"; use data = "resident"'),
        ({"device": "cuda", "gpus": 0}, "one GPU per rank, and there are 0 for 4 ranks; use device cpu"),
        ({"device": "cuda", "gpus": 2}, "one GPU per rank, and there are 2 for 4 ranks; use at most 2 ranks"),
        ({"without": "is_available"}, "needs torch.distributed"),
        ({"without": "is_gloo_available"}, "needs gloo on cpu"),
    ],
)
def test_what_processes_cannot_do_is_said_before_with_what_would_work(settings, monkeypatch, changes, words):
    here = {"gpus": 8, "without": "is_mpi_available"} | changes
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here["gpus"])
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.setattr(dist, here["without"], lambda: False)
    asked = settings(
        **{"ranks": 4, "ranks_backend": "process"} | {key: here[key] for key in here.keys() - {"gpus", "without"}}
    )
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        check_devices([Cell("accuracy", 1, asked)])
    assert 'ranks_backend = "virtual"' in str(caught.value)


def test_processes_that_can_be_are_not_refused_and_share_the_cores_with_no_other_cell(settings):
    cells = [Cell("accuracy", 1, settings(ranks=4, ranks_backend="process"))]
    check_devices(cells)
    assert default_jobs(cells) == 1


def failures(**codes):
    return {int(key[1:]): ProcessFailure(int(key[1:]), 1, code, os.devnull) for key, code in codes.items()}


def told(own, when, status, reason):
    return {own: {"rank": own, "when": when, "status": status, "reason": reason}}


LOST = told(0, 5.0, "error", "RuntimeError: connection closed by peer")


@pytest.mark.parametrize(
    ("codes", "words", "expected"),
    [
        ({"r1": -9}, {}, ("crashed", "the process of rank 1 of 4 died (signal 9)")),
        ({"r1": -9, "r0": -15}, LOST, ("crashed", "the process of rank 1 of 4 died (signal 9)")),
        ({"r0": 1, "r3": 7}, LOST, ("crashed", "the process of rank 3 of 4 died (exit code 7)")),
        ({"r2": -15, "r0": -15}, {}, ("crashed", "the process of rank 2 of 4 died (signal 15)")),
        ({"r0": 1}, LOST | told(3, 4.0, "oom", "no memory"), ("oom", "rank 3 of 4: no memory")),
        ({"r3": 1, "r1": -15}, told(3, 4.0, "error", "KeyError: 1"), ("error", "rank 3 of 4: KeyError: 1")),
        ({"r0": 1}, LOST | told(1, 1.0, "skipped", "too few"), ("skipped", "too few")),
    ],
)
def test_the_cause_is_a_rank_that_died_else_the_first_that_told(codes, words, expected):
    got = launch.cause(failures(**codes), words, 4)
    assert isinstance(got, CannotRun if expected[0] == "skipped" else RankFailed)
    assert (getattr(got, "status", "skipped"), str(got)) == expected


def test_a_divergence_comes_back_from_another_process_with_what_is_known_of_it():
    back = pickle.loads(pickle.dumps(Diverged("not finite", Result({"chance_accuracy": 0.1}))))
    assert (str(back), back.result.metrics) == ("not finite", {"chance_accuracy": 0.1})


BAD = """
import os, signal, time
from pathlib import Path
import normzoo
from normzoo import TooFewValuesError
from normzoo.norms.none import NoNorm

def bad(name, act):
    @normzoo.register(name, paper="none", year=None, pools=set())
    class Bad(NoNorm):
        def forward(self, x):
            if self.training and os.environ.get("RANK") == "1":
                act()
            return super().forward(x)
    return Bad

def die():
    Path(__file__).with_name("death").write_text(str(time.time()))
    os.kill(os.getpid(), signal.SIGKILL)

def fail():
    raise KeyError("no such thing")

def refuse():
    raise TooFewValuesError("needs more")

@normzoo.register("a_rank_explodes", paper="none", year=None, pools=set())
class Explodes(NoNorm):
    def forward(self, x):
        return super().forward(x) * float("inf")

Dies = bad("a_rank_dies", die)
Fails = bad("a_rank_fails", fail)
Refuses = bad("a_rank_refuses", refuse)
"""

SUITE = """
name = "processes"
question = "Do they run?"
protocol = 1

[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 1, batch_size = 40, train_samples = 200, ranks = 2 }
[grids.axes]
normalizer = ["batch_norm"]
seed = [0]
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    file = tmp_path_factory.mktemp("suite") / "processes.toml"
    file.write_text(SUITE, encoding="utf-8")
    return str(file)


@pytest.fixture(scope="module")
def faults(suite, tmp_path_factory):
    """One run of normalizers that fail in one rank, and two good ones at once; by name, each one's record."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "bad.py").write_text(BAD, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        result = normzoo_bench.run(
            suite,
            out=folder / "run",
            load=[str(folder / "bad.py")],
            normalizers=[
                "a_rank_dies",
                "a_rank_fails",
                "a_rank_refuses",
                "a_rank_explodes",
                "batch_norm",
                "group_norm",
            ],
            settings={"ranks_backend": "process"},
            jobs=2,
        )
    return folder, {one.settings["normalizer"]: one for one in read_run(result.folder).records.values()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("a_rank_dies", "crashed", "the process of rank 1 of 2 died (signal 9)"),
        ("a_rank_fails", "error", "rank 1 of 2: KeyError: 'no such thing' (bad.py, line"),
        ("a_rank_refuses", "skipped", "needs more"),
        ("a_rank_explodes", "diverged", "not finite in epoch 1"),
        ("batch_norm", "ok", ""),
        ("group_norm", "ok", ""),
    ],
)
def test_what_happens_in_one_rank_is_how_its_cell_ends(faults, name, status, reason):
    _, records = faults
    assert (records[name].status, reason in records[name].reason) == (status, True), records[name].reason


@pytest.mark.slow
def test_a_dead_rank_ends_its_cell_within_a_minute(faults):
    folder, records = faults
    died = float((folder / "death").read_text(encoding="utf-8"))
    written = (folder / "run" / "cells" / f"{records['a_rank_dies'].id}.json").stat().st_mtime
    assert 0 < written - died < 60


def left(folder):
    """The processes whose command line names a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            if str(folder).encode() in file.read_bytes() and file.parent.name != str(os.getpid()):
                found.append(file.parent.name)
    return found


@PROC
@pytest.mark.slow
def test_no_process_and_no_folder_of_ranks_is_left_behind(faults):
    folder, _ = faults
    assert left(folder) == []
    assert list(folder.glob("normzoo-*")) == []


ASKS = """
import os, sys
from pathlib import Path
from normzoo_bench.processes import launch
launch.run(["-c", sys.argv[2], sys.argv[1], str(os.getpid())], 2, Path(sys.argv[1]))
"""

SLEEPS = """
import os, sys, time
from pathlib import Path
from normzoo_bench.running.process import prepare
prepare(int(sys.argv[2]), (), Path(sys.argv[1]))
Path(sys.argv[1], "asleep-" + os.environ["RANK"]).touch()
time.sleep(600)
"""


@PROC
@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_ranks_end_with_the_process_that_asked_whatever_ends_it(tmp_path, by):
    folder = tmp_path / "meeting"
    folder.mkdir()
    words = [sys.executable, "-c", ASKS, str(folder), SLEEPS]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as asking:
        try:
            until(lambda: len(list(folder.glob("asleep-*"))) == 2)
            assert len(left(folder)) == 3  # both ranks, and the one that asked
            asking.send_signal(by)
            asking.wait(30)
        finally:
            asking.kill()
    assert asking.returncode != 0
    until(lambda: left(folder) == [] and (by == signal.SIGINT or not folder.exists()), 15)


def until(true, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_under_torchrun_two_machines_measure_what_one_does(suite, tmp_path):
    """Two launchers on this machine stand for two machines; they know each other by an address alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{free.getsockname()[1]}"
    words = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    words += ["--rdzv-backend", "c10d", "--rdzv-endpoint", at, "--rdzv-id", "test", "--local-addr", "127.0.0.1"]
    words += ["-m", "normzoo_bench.processes", "run", suite, "--set", "ranks_backend=process", "--seeds", "2"]
    outs = [tmp_path / "one", tmp_path / "two"]
    launched = [subprocess.Popen([*words, "--out", str(out)], stderr=subprocess.PIPE, text=True) for out in outs]
    try:
        said = [one.communicate(timeout=300)[1] for one in launched]
    finally:
        for one in launched:
            one.kill()
    assert [one.returncode for one in launched] == [0, 0], said
    (out,) = (out for out in outs if out.exists())  # where rank 0 was
    alone = normzoo_bench.run(suite, out=tmp_path / "virtual", seeds=2, jobs=1)
    records, expected = (
        {one.settings["seed"]: one for one in read_run(folder).records.values()} for folder in (out, alone.folder)
    )
    assert {one.status for one in records.values()} == {"ok"}
    assert records.keys() == expected.keys() == {0, 1}
    for seed, record in records.items():
        assert record.metrics == pytest.approx(expected[seed].metrics, abs=0.02)


def test_under_torchrun_a_cell_with_other_ranks_than_there_are_processes_is_refused(settings, monkeypatch):
    monkeypatch.setattr(machines, "_ranks", machines._Ranks(0, 8, dist.HashStore()))
    for changes in ({"ranks": 4, "ranks_backend": "process"}, {"ranks": 8}):
        with pytest.raises(UsageError, match="--set ranks=8 --set ranks_backend=process"):
            check_devices([Cell("accuracy", 1, settings(**changes))])
    check_devices([Cell("accuracy", 1, settings(ranks=8, ranks_backend="process"))])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
