"""Running on a Ray cluster of several nodes: the same records as at home, whatever becomes of a node."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

ray = pytest.importorskip("ray")

import normzoo_bench  # noqa: E402  # it is of no use without Ray
from normzoo_bench.errors import UsageError  # noqa: E402
from normzoo_bench.planner import source_hash  # noqa: E402
from normzoo_bench.result import Result  # noqa: E402
from normzoo_bench.running import cluster as clusters  # noqa: E402
from normzoo_bench.running import node, on_ray  # noqa: E402
from normzoo_bench.running.rounds import Options  # noqa: E402
from normzoo_bench.running.worker import Outcome  # noqa: E402
from normzoo_bench.tracking import NOWHERE  # noqa: E402
from normzoo_suites import read_run  # noqa: E402

SMALL = {"object_store_memory": 100 << 20, "include_dashboard": False}
LONG = {"epochs": "12", "train_samples": "all"}
# what Ray leaves open when it is imported, started and left is its own
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error::UserWarning:normzoo")]


@pytest.fixture(scope="module")
def cluster():
    """A head that measures nothing, and two nodes of one CPU each."""
    clusters.ray()
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0} | SMALL)
    try:
        for _ in range(2):
            made.add_node(num_cpus=1, **SMALL)
        yield made
    finally:
        made.shutdown()


@pytest.fixture
def another_node(cluster):
    """Add nodes that are gone when the test is over."""
    added = []

    def add(**has):
        added.append(cluster.add_node(**has, **SMALL))
        return added[-1]

    yield add
    for one in added:
        if one in cluster.worker_nodes:
            cluster.remove_node(one, allow_graceful=False)


def metrics(folder):
    """By id, what was measured in trainings; times are never twice the same."""
    return {one.id: one.metrics for one in read_run(folder).records.values() if one.measure == "accuracy"}


@pytest.fixture(scope="module")
def at_home(tiny, tmp_path_factory):
    return normzoo_bench.run(tiny, out=tmp_path_factory.mktemp("home") / "run", jobs=1).folder


@pytest.fixture(scope="module")
def ran(tiny, cluster, tmp_path_factory):
    out = tmp_path_factory.mktemp("ray") / "run"
    return normzoo_bench.run(tiny, out=out, executor="ray", address=cluster.address)


@pytest.mark.slow
def test_a_cluster_gives_the_records_of_a_machine_alone_to_the_bit(ran, at_home):
    assert ran.statuses == {"ok": 11}
    assert len(metrics(at_home)) == 10
    assert metrics(ran.folder) == metrics(at_home)
    whole = read_run(ran.folder).records.values()
    assert {one.environment["code"] for one in whole} == {node.code()}
    assert any(one.measure == "throughput" and one.metrics["step_ms"] > 0 for one in whole)


@pytest.mark.slow
def test_a_run_on_a_cluster_is_resumed(tiny, ran, cluster):
    (ran.folder / "cells" / next(iter(metrics(ran.folder)))).with_suffix(".json").unlink()
    again = normzoo_bench.run(tiny, out=ran.folder, executor="ray", address=cluster.address)
    assert (again.measured, again.resumed) == (1, 10)
    third = normzoo_bench.run(tiny, out=ran.folder, executor="ray", address="1.2.3.4:5")  # which nobody has to ask
    assert (third.measured, third.resumed) == (0, 11)


@pytest.mark.slow
def test_a_node_that_dies_costs_no_cell(tiny, cluster, another_node, tmp_path, at_home):
    doomed = another_node(num_cpus=1)
    out = tmp_path / "run"

    def kill():
        deadline = time.monotonic() + 120
        while len(list(out.glob("cells/*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    result = normzoo_bench.run(tiny, out=out, settings=LONG, executor="ray", address=cluster.address)
    killer.join()
    home = normzoo_bench.run(tiny, out=tmp_path / "home", settings=LONG, jobs=2)
    assert result.statuses == {"ok": 11}
    assert result.measured == 11
    assert not (out / "cells" / "older").exists()  # nothing was recorded twice
    assert metrics(out) == metrics(home.folder)


BAD = """
import os, pathlib, signal, subprocess, sys, time
import normzoo
from normzoo.norms import NoNorm

def bad(name, act):
    @normzoo.register(name, paper="none", year=None, pools=set())
    class Bad(NoNorm):
        def forward(self, x):
            if self.training:
                act()
            return super().forward(x)
    return Bad

def raise_error():
    raise KeyError("no such thing")

def start_a_child():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(601)", MARK])
    time.sleep(600)

Dies = bad("dies", lambda: os.kill(os.getpid(), signal.SIGKILL))
Hangs = bad("hangs", lambda: time.sleep(600))
Raises = bad("raises", raise_error)
Talks = bad("talks", lambda: print("x" * 10_000 + " the end"))
Forks = bad("forks", start_a_child)
KillsRay = bad("kills_ray", lambda: os.kill(os.getppid(), signal.SIGKILL))
"""


@pytest.fixture(scope="module")
def mark():
    return f"normzoo-orphan-{os.getpid()}"


@pytest.fixture(scope="module")
def bad(tmp_path_factory, mark):
    file = tmp_path_factory.mktemp("bad") / "bad.py"
    file.write_text(BAD.replace("MARK", repr(mark)), encoding="utf-8")
    return str(file)


@pytest.fixture(scope="module")
def trainings(tiny, tmp_path_factory):
    """The tiny suite without what is timed."""
    file = tmp_path_factory.mktemp("trainings") / "trainings.toml"
    whole = Path(tiny).read_text(encoding="utf-8")
    file.write_text(whole[: whole.rindex("[[grids]]")], encoding="utf-8")
    return str(file)


def orphans(mark):
    told = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]
    return [words for words in told if mark.encode() in words and b"time.sleep(601)" in words]


@pytest.mark.slow
def test_whatever_a_normalizer_does_is_recorded_as_at_home(trainings, bad, mark, cluster, tmp_path):
    asked = {"load": [bad], "settings": {"ranks": "1"}, "seeds": 1, "timeout": 60}
    names = ["dies", "hangs", "raises", "talks", "forks", "batch_norm"]
    result = normzoo_bench.run(
        trainings, out=tmp_path / "run", normalizers=names, executor="ray", address=cluster.address, **asked
    )
    records = {one.settings["normalizer"]: one for one in read_run(result.folder).records.values()}
    assert {name: (records[name].status, records[name].reason) for name in names} == {
        "dies": ("crashed", "its worker died (signal 9), in each of 2 tries"),
        "hangs": ("timeout", "killed after 60 s"),
        "raises": ("error", "KeyError: 'no such thing' (bad.py, line 16)"),
        "talks": ("ok", ""),
        "forks": ("timeout", "killed after 60 s"),
        "batch_norm": ("ok", ""),
    }
    assert records["talks"].log.endswith("xx the end")
    assert "bad.py" in records["hangs"].log
    assert str(tmp_path.parent) not in records["hangs"].log
    assert not orphans(mark)


@pytest.mark.slow
def test_a_cell_that_takes_rays_own_process_with_it_is_given_up_and_the_others_run(
    trainings, bad, cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(on_ray, "LOSSES", 2)
    monkeypatch.setattr(on_ray, "PAUSE", 0.1)
    asked = {"load": [bad], "settings": {"ranks": "1"}, "seeds": 1, "normalizers": ["kills_ray", "batch_norm"]}
    result = normzoo_bench.run(trainings, out=tmp_path / "run", executor="ray", address=cluster.address, **asked)
    ended = {one.settings["normalizer"]: (one.status, one.reason) for one in read_run(result.folder).records.values()}
    assert ended["batch_norm"] == ("ok", "")
    assert ended["kills_ray"] == ("crashed", "its node, or Ray's process there, was lost in each of 2 tries")


@pytest.mark.slow
def test_ranks_that_are_processes_run_as_one_group_on_a_node_that_has_room(trainings, cluster, another_node, tmp_path):
    asked = {"settings": {"ranks_backend": "process", "ranks": "2"}, "seeds": 1}
    with pytest.raises(UsageError, match="needs 2 CPUs on one node, and no node of the cluster has them: there are 3"):
        normzoo_bench.run(trainings, out=tmp_path / "run", executor="ray", address=cluster.address, **asked)
    assert not list((tmp_path / "run").glob("cells/*.json"))
    another_node(num_cpus=2)
    result = normzoo_bench.run(trainings, out=tmp_path / "run", executor="ray", address=cluster.address, **asked)
    assert result.statuses == {"ok": 2}
    assert metrics(result.folder) == metrics(normzoo_bench.run(trainings, out=tmp_path / "home", **asked).folder)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_nothing_at_work_on_the_nodes(trainings, bad, mark, cluster, tmp_path, kill):
    words = ["run", trainings, "--out", str(tmp_path / "run"), "--executor", "ray", "--address", cluster.address]
    words += ["--load", bad, "--normalizers", "batch_norm,forks", "--set", "ranks=1", "--seeds", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "normzoo_bench.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: orphans(mark), 90)
        process.send_signal(kill)
        said, told = process.communicate(timeout=60)
    if kill == signal.SIGINT:
        assert process.returncode == 130
        assert told.endswith("the same command goes on from there\n")
        assert "Traceback" not in told + said
        assert "raylet" not in told + said
    wait_for(lambda: not orphans(mark), 30)
    assert {one.status for one in read_run(tmp_path / "run").records.values()} <= {"ok"}


def wait_for(what, seconds):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


@pytest.mark.slow
def test_nodes_with_another_normzoo_are_refused_in_words(tiny, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "code", lambda: "0123456789ab")
    with pytest.raises(UsageError, match=r"has another normzoo than this run \(code .*, not 0123456789ab\); install"):
        normzoo_bench.run(tiny, out=tmp_path / "run", executor="ray", address=cluster.address)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "cannot join the Ray cluster at 127.0.0.1:1: "),
        ("nonsense", "cannot join the Ray cluster at nonsense: "),
        ("ray://127.0.0.1:10001", "a run is a driver on a node of the cluster, not a client from outside"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_in_a_line(tiny, tmp_path, address, said):
    with pytest.raises(UsageError) as told:
        normzoo_bench.run(tiny, out=tmp_path / "run", executor="ray", address=address)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


# from here on without a cluster


class Stream:
    """As Ray's: gives a reference to each thing that a task has yielded, at last an error or the end."""

    def __init__(self, things):
        self.things = iter(things)

    def __next__(self):
        return next(self.things)


class FakeRay:
    """A cluster on which every task ends at once, as ``play`` says: a list of the ids and errors that it tells of."""

    exceptions = ray.exceptions

    def __init__(self, nodes, play):
        self.has, self.play, self.sent, self.most = nodes, play, [], 0
        self.head = ""  # whom nobody can call

    def get_runtime_context(self):
        return SimpleNamespace(gcs_address=self.head)

    def nodes(self):
        return [{"NodeID": name, "Alive": True, "Resources": has} for name, has in self.has.items()]

    def remote(self, **options):
        assert options == {"max_retries": 0, "num_returns": "streaming"}
        return lambda function: self

    def options(self, **asked):
        def send(errand):
            self.sent.append((asked, errand))
            return Stream(self.play(errand))

        return SimpleNamespace(remote=send)

    def wait(self, streams, **_):
        self.most = max(self.most, len(streams))
        return streams[:1], streams[1:]

    def get(self, thing, **_):
        if isinstance(thing, Exception):
            raise thing
        return thing, Outcome("ok", "", Result({}), {}, 0.0)

    def cancel(self, stream, force):
        pass


def ids(errand):
    return [cell.id for job, *_ in errand.work for cell in job]


@pytest.fixture
def plan(tiny):
    return normzoo_bench.plan(tiny)


def flown(fake, plan, cells=None, take=lambda _: True, warn=lambda _: None, **options):
    runs = on_ray.OnRay(Options(executor="ray", **options), warn)
    runs._ray = fake
    return list(runs.outcomes(plan, plan.to_do() if cells is None else cells, take))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(on_ray, "TICK", 0.0)


CPUS = {"CPU": 1.0}
A, B = "aa" * 28, "bb" * 28  # as long as the names that nodes have


def test_tasks_are_sent_as_there_is_room_and_two_wait(plan):
    fake = FakeRay({A: CPUS, B: {"CPU": 2.0}}, ids)
    assert len(flown(fake, plan)) == 11
    assert fake.most == 5


def test_jobs_limit_what_is_on_the_cluster(plan):
    fake = FakeRay({A: CPUS, B: {"CPU": 2.0}}, ids)
    assert len(flown(fake, plan, jobs=2)) == 11
    assert fake.most == 2


def test_a_job_is_taken_when_it_is_sent_and_not_before(plan):
    fake, taken = FakeRay({A: CPUS}, ids), []

    def take(job):
        assert len(taken) == len(fake.sent)
        taken.append(job)
        return True

    flown(fake, plan, [cell for cell in plan.to_do() if cell.measure == "accuracy"], take)
    assert len(taken) == 10


def test_what_another_runner_has_is_not_sent(plan):
    fake = FakeRay({A: CPUS}, ids)
    first = plan.to_do()[0]
    ended = flown(fake, plan, take=lambda job: first not in job)
    assert {cell.id for cell, _ in ended} == {cell.id for cell in plan.to_do()} - {first.id}


def test_what_is_timed_has_a_node_for_itself_and_comes_last(tiny):
    plan = normzoo_bench.plan(tiny, repeats=4)
    fake = FakeRay({A: {"CPU": 8.0}, B: {"CPU": 4.0, "GPU": 1.0}}, ids)
    flown(fake, plan)
    timed = [(asked, errand) for asked, errand in fake.sent if errand.fresh]
    assert [errand.fresh for _, errand in fake.sent] == sorted(errand.fresh for _, errand in fake.sent)
    assert len(timed) == 4
    assert {(one["scheduling_strategy"].node_id, one["num_cpus"]) for one, _ in timed} == {(A, 8.0), (B, 4.0)}
    assert fake.most >= 2


def test_a_lost_task_is_tried_again_without_the_cells_that_it_had_told_of(tiny, monkeypatch):
    monkeypatch.setattr(on_ray, "PAUSE", 0.0)
    plan = normzoo_bench.plan(tiny, settings={"shape": "8x4x4,16x4x4,32x4x4"})
    cells = [cell for cell in plan.to_do() if cell.measure == "throughput"]
    losses = itertools.count()

    def play(errand):
        return ids(errand) if next(losses) else [ids(errand)[0], ray.exceptions.NodeDiedError("gone")]

    fake = FakeRay({A: CPUS}, play)
    ended = flown(fake, plan, cells)
    assert sorted(cell.id for cell, _ in ended) == sorted(cell.id for cell in cells)
    assert [len(ids(errand)) for _, errand in fake.sent] == [3, 2]
    assert {outcome.status for _, outcome in ended} == {"ok"}


@pytest.mark.parametrize(
    ("error", "status"),
    [(ray.exceptions.WorkerCrashedError(), "crashed"), (ray.exceptions.OutOfMemoryError("none left"), "oom")],
)
def test_what_is_lost_time_and_again_is_given_up(plan, monkeypatch, error, status):
    monkeypatch.setattr(on_ray, "PAUSE", 0.0)
    fake = FakeRay({A: CPUS}, lambda errand: [error])
    ((_, outcome),) = flown(fake, plan, plan.to_do()[:1])
    assert outcome.status == status
    assert outcome.reason.endswith("in each of 5 tries")
    assert len(fake.sent) == 5


def test_a_lost_task_waits_until_the_cluster_can_know_of_it(plan, monkeypatch):
    monkeypatch.setattr(on_ray, "PAUSE", 0.3)
    when = []

    def play(errand):
        when.append(time.monotonic())
        return ids(errand) if len(when) == 3 else [ray.exceptions.NodeDiedError("gone")]

    flown(FakeRay({A: CPUS}, play), plan, plan.to_do()[:1])
    assert when[1] - when[0] >= 0.3
    assert when[2] - when[1] >= 0.6


def test_a_run_whose_nodes_are_gone_ends_in_words(plan, monkeypatch):
    monkeypatch.setattr(on_ray, "PATIENCE", 0.2)
    monkeypatch.setattr(on_ray, "PAUSE", 0.0)

    def play(errand):
        fake.has = {A: {"CPU": 0.0}}
        return [ray.exceptions.NodeDiedError("gone")]

    fake = FakeRay({A: CPUS}, play)
    with pytest.raises(UsageError, match="the nodes that could hold 1 CPU are gone from the cluster"):
        flown(fake, plan, plan.to_do()[:1])


def test_a_fault_of_the_node_itself_is_no_loss(plan):
    error = ray.exceptions.RayTaskError("run", "No module named 'normzoo_bench'", ModuleNotFoundError("normzoo_bench"))
    with pytest.raises(UsageError, match="a node of the cluster cannot run normzoo"):
        flown(FakeRay({A: CPUS}, lambda errand: [error]), plan, plan.to_do()[:1])


def test_a_normalizers_file_travels_by_name_and_text(trainings, bad):
    plan = normzoo_bench.plan(trainings, load=[bad], normalizers=["raises", "batch_norm"], seeds=1)
    fake = FakeRay({A: CPUS}, ids)
    flown(fake, plan)
    sent = {errand.owner: errand.files for _, errand in fake.sent}
    assert sent == {"": (), "raises": (("bad.py", Path(bad).read_bytes()),)}


def test_a_node_that_goes_away_is_told(plan, monkeypatch):
    monkeypatch.setattr(on_ray, "PAUSE", 0.0)
    fake, told = FakeRay({A: CPUS, B: CPUS}, ids), []

    def play(errand):
        fake.has.pop(B, None)
        return ids(errand)

    fake.play = play
    monkeypatch.setattr(on_ray, "TICK", -1.0)
    assert len(flown(fake, plan, warn=told.append)) == 11
    assert told == ["a node of the cluster went away, 1 left; its cells begin again"]


def test_a_run_whose_head_is_gone_ends_in_words(plan, monkeypatch):
    monkeypatch.setattr(clusters, "GONE", 0.2)
    fake = FakeRay({A: CPUS}, ids)
    fake.head = "127.0.0.1:9"  # where nobody listens
    with pytest.raises(UsageError, match="the head of the cluster is gone; what was measured is kept"):
        flown(fake, plan)


def errand(cells, **changes):
    asked = {
        "owner": "",
        "files": (),
        "options": Options(),
        "spool": NOWHERE,
        "fresh": False,
        "code": node.code(),
    } | changes
    return node.Errand(tuple(((cell,), "digits", source_hash(cell), "") for cell in cells), **asked)


@pytest.fixture
def no_bench_left():
    yield
    if left := node._claimed():
        left.close()


def test_a_node_keeps_its_worker_warm_for_errands_of_its_kind_only(plan, no_bench_left, monkeypatch):
    monkeypatch.setattr(node, "IDLE", 60.0)
    cells = [cell for cell in plan.to_do() if cell.measure == "accuracy"][:3]
    pids = []
    for one, fresh in zip(cells, (False, False, True), strict=True):
        for _, outcome in node.run(errand([one], fresh=fresh)):
            assert outcome.status == "ok"
            pids += workers()
    assert pids[0] == pids[1] != pids[2]
    assert len(pids) == 3
    assert not workers()


def workers():
    return [child.pid for child in multiprocessing.active_children()]


def test_a_worker_that_nobody_asks_is_ended(plan, no_bench_left, monkeypatch):
    monkeypatch.setattr(node, "IDLE", 0.1)
    assert [outcome.status for _, outcome in node.run(errand(plan.to_do()[:1]))] == ["ok"]
    wait_for(lambda: not workers(), 10)


def test_a_node_with_another_normzoo_measures_nothing(plan):
    with pytest.raises(UsageError, match="a node of the cluster has another normzoo than this run"):
        next(node.run(errand(plan.to_do()[:1], code="0123456789ab")))


def test_data_that_is_another_on_the_node_is_an_error_that_says_so(plan, no_bench_left):
    sent = errand([next(cell for cell in plan.to_do() if cell.measure == "accuracy")])
    ((job, where, source, _),) = sent.work
    ((_, outcome),) = node.run(dataclasses.replace(sent, work=((job, where, source, "another"),)))
    assert outcome.status == "error"
    assert "the data of digits is not here what it was when the run was planned" in outcome.reason
