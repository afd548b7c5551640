"""The measure `sync_cost`: ranks that see the same times, collectives that count once, and no speed for wrong logits.

The file is also the program of such ranks: ``python test_sync_cost.py FOLDER PARENT``.
"""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from test_processes import PROC, left
from torch.nn.parallel import DistributedDataParallel

import normzoo
import normzoo_bench
from normzoo_bench.checks import check_devices
from normzoo_bench.environment import cores
from normzoo_bench.errors import UsageError
from normzoo_bench.processes import launch, machines, rank
from normzoo_bench.processes.training import join
from normzoo_bench.result import CannotRun
from normzoo_bench.running.process import prepare
from normzoo_bench.skips import skip_reason
from normzoo_bench.speed import gate, sync_rank
from normzoo_bench.speed.collectives import Collectives, collectives_of, counted
from normzoo_bench.speed.model_steps import images, model_of, optimizer_of, training_step
from normzoo_bench.timing import pairs
from normzoo_suites import Cell, read_run
from normzoo_suites.metrics import METRICS
from normzoo_suites.settings import SyncCostSettings

RANKS = 2
LAYERS = 3  # norms of small_convnet
NAMES = ["sync_batch_norm", "sync_batch_renorm", "group_norm"]


def cell(**changes):
    small = {"normalizer": "sync_batch_norm", "model": "small_convnet", "image_size": 8, "batch_size": 6}
    return SyncCostSettings.model_validate(small | {"ranks": RANKS} | changes)


# what ranks do


def register_wrong_ones():
    """Not where other tests would find them, too: in the ranks only."""

    @normzoo.register("sync_forgotten", paper="none", year=None, pools={"rank", "batch", "space"})
    class Forgotten(normzoo.card("batch_norm").factory):
        """Says that it pools over ranks, and does not."""

    @normzoo.register("wrong_on_rank_1", paper="none", year=None, pools=set())
    class WrongOnOne(normzoo.card("none").factory):
        def forward(self, x):
            return super().forward(x) * (1.01 if dist.is_initialized() and dist.get_rank() == 1 else 1)


def quickly():
    pairs.PAIRS, pairs.WARM_UP_S, pairs.SAMPLE_MS = (5, 5), (0.0, 0.01), 0.1


def work(folder):
    own, found = int(os.environ["RANK"]), {}
    quickly()
    register_wrong_ones()

    def measured(name, **changes):
        meeting = folder / "-".join([name, *map(str, changes.values())])
        meeting.mkdir(exist_ok=True)
        try:
            return rank.measure([cell(normalizer=name, **changes)], None, lambda: join(meeting, "cpu"), own)
        except (CannotRun, RuntimeError) as error:
            return error
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()

    found |= {name: measured(name) for name in [*NAMES, "sync_forgotten", "wrong_on_rank_1"]}
    found["narrow"] = measured("sync_batch_norm", precision="bfloat16", layout="channels_last")
    found["too few"] = measured("sync_batch_norm", model="resnet20_strided", image_size=1, batch_size=2)
    join(folder, "cpu")
    found["times"] = times(own)
    found["all"] = said(everything)
    found["step"] = a_step(own)
    dist.destroy_process_group()
    torch.save(found, folder / f"found-{own}.pt")


def times(own):
    """What each rank's clock says of a step that takes rank 0 20 ms and rank 1 60 ms."""
    clock = sync_rank.together(lambda step, _count: step(), "cpu")
    return [clock(lambda: 20.0 + 40.0 * own, 1), clock(lambda: 5.0 - own, 1)]


def said(step):
    found = collectives_of(step, "cpu")
    return found.count, found.bytes


def everything():
    """Six collectives, by as many ways to ask for one; 5 × 32 + 64 bytes are handed in."""
    from torch.distributed import _functional_collectives as functional

    own, every = torch.ones(4, dtype=torch.float64), torch.ones(4 * RANKS, dtype=torch.float64)
    dist.all_reduce(own)
    dist.all_reduce(own, async_op=True).wait()
    dist.all_gather_into_tensor(every, own)
    dist.broadcast(own, 0)
    dist.reduce_scatter_tensor(own, every)
    functional.wait_tensor(functional.all_gather_tensor(own, 0, dist.group.WORLD))


def a_step(own):
    """Count a model's collectives by the profiler, and those of its layers by the functions that these call."""
    asked = []
    settings = cell()
    model = model_of("sync_batch_norm", settings)
    step = training_step(DistributedDataParallel(model), optimizer_of(model), images(settings, 3, own), settings)
    step()  # in its second step DistributedDataParallel sorts its buckets anew, and tells all ranks
    step()
    profiled = collectives_of(step, "cpu")
    with pytest.MonkeyPatch.context() as patch:
        for one in (dist.all_reduce, dist.all_gather_into_tensor):
            patch.setattr(dist, one.__name__, lambda *given, one=one, **more: (asked.append(1), one(*given, **more)))
        step()
    return {"profiled": profiled.count, "of layers": len(asked)}


def main(folder, parent):
    prepare(parent, (), folder)
    try:
        work(folder)
    except BaseException as error:
        rank.tell(folder, int(os.environ["RANK"]), error, __file__)
        raise


# what came of it


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    launch.run([__file__, str(folder), str(os.getpid())], RANKS, folder)
    return [torch.load(folder / f"found-{own}.pt", weights_only=False) for own in range(RANKS)]


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_comes_from_rank_0_and_nothing_from_the_others(ran, name):
    (result,), others = ran[0][name], [one[name] for one in ran[1:]]
    assert others == [[]] * (RANKS - 1)
    assert set(result.metrics) == set(METRICS["sync_cost"])
    assert all(len(result.samples[key]) == 5 for key in ("sync_step_ms", "batch_norm_sync_step_ms"))
    assert result.metrics["sync_images_per_s"] == pytest.approx(6 / result.metrics["sync_step_ms"] * 1e3)
    assert result.conditions["backend"] == "gloo"
    assert "throttled" in result.conditions


@pytest.mark.parametrize(
    ("name", "more"), [("sync_batch_norm", 2 * LAYERS), ("sync_batch_renorm", 2 * LAYERS), ("group_norm", -2)]
)
def test_a_synchronized_layer_has_two_collectives_more_than_a_local_one_and_what_has_no_buffers_two_in_all_less(
    ran, name, more
):
    """DistributedDataParallel sends one bucket of gradients, and batch norm's buffers of two types."""
    metrics = ran[0][name][0].metrics
    assert metrics["batch_norm_collectives"] == 3
    assert metrics["collectives"] == 3 + more


def test_the_profiler_counts_what_the_layers_ask_for_and_what_torch_asks_for_besides(ran):
    for one in ran:
        assert one["step"]["of layers"] == 2 * LAYERS
        assert one["step"]["profiled"] == 2 * LAYERS + 3


def test_every_way_to_ask_for_a_collective_counts_once_and_its_bytes(ran):
    assert [one["all"] for one in ran] == [(6, 5 * 32 + 64)] * RANKS


def test_all_ranks_see_the_times_of_the_slowest(ran):
    assert [one["times"] for one in ran] == [[60.0, 5.0]] * RANKS


def test_synchronized_logits_are_those_of_the_whole_batch_in_one_process(ran):
    assert ran[0]["sync_batch_norm"][0].conditions["error_vs_float64"] < 1e-5


def test_bfloat16_in_channels_last_passes_though_it_is_not_exact(ran):
    assert 1e-4 < ran[0]["narrow"][0].conditions["error_vs_float64"] < 0.1


@pytest.mark.parametrize("name", ["sync_forgotten", "wrong_on_rank_1"])
def test_what_is_off_on_any_rank_gets_no_speed_and_all_ranks_say_so(ran, name):
    for one in ran:
        assert re.search(rf"logits of small_convnet with {name} on 2 rank.* off by .* against float64", str(one[name]))


def test_one_value_per_statistic_of_local_batch_norm_cannot_be_timed_against(ran):
    for one in ran:
        assert isinstance(one["too few"], CannotRun)
        assert "needs 2 values per channel" in str(one["too few"])


# collectives, off made-up profiles


def event(name, start, lasts=0, device="CPU", shapes=(), dtypes=()):
    told = {"start_ns": start, "duration_ns": lasts, "shapes": list(shapes), "dtypes": list(dtypes)}
    return SimpleNamespace(
        name=lambda: name,
        device_type=lambda: SimpleNamespace(name=device),
        **{key: lambda value=value: value for key, value in told.items()},
    )


ON_A_GPU = [
    event("c10d::barrier", 1),
    event("normzoo: steps", 10, 90),
    event("normzoo: steps", 5, 90, "CUDA"),
    event("c10d::allreduce_", 20, 7),
    event("nccl:all_reduce", 21, 5, shapes=[[3, 2], [4]], dtypes=["float", "c10::BFloat16"]),
    event("nccl:all_reduce", 22, 4_000_000, "CUDA"),
    event("ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)", 22, 4_000_000, "CUDA"),
    event("_c10d_functional::wait_tensor", 30, 5),
    event("volta_sgemm", 40, 7_000_000, "CUDA"),
]


def test_on_a_gpu_the_time_is_that_of_nccls_kernels_and_the_annotation_of_them_is_not_added():
    assert counted(ON_A_GPU, "nccl", steps=2) == Collectives(count=0.5, ms=2.0, bytes=(6 * 4 + 4 * 2) / 2)


def test_bytes_that_the_profiler_does_not_tell_are_not_taken_for_none():
    silent = [one for one in ON_A_GPU if not (one.name() == "nccl:all_reduce" and one.device_type().name == "CPU")]
    assert counted(silent, "nccl", steps=2).bytes is None
    assert counted([*ON_A_GPU, event("nccl:x", 50, shapes=[[1]], dtypes=["?"])], "nccl", steps=2).bytes is None


def test_a_nan_is_no_agreement():
    assert gate.logits_error(torch.tensor([1.0, math.nan]), torch.ones(2, dtype=torch.double)) == math.inf


# before


@pytest.mark.parametrize(
    ("gpus", "changes", "words"),
    [
        (2, {"device": "cuda", "ranks": 4, "batch_size": 8}, "one GPU per rank, and there are 2 for 4 ranks; use at"),
        (4, {"device": "cuda", "ranks": 4, "batch_size": 8}, None),
        (0, {"ranks": 6, "model": "resnet20_strided"}, "would be timed against batch_norm, and a batch statistic"),
        (0, {"ranks": 3, "model": "resnet20_strided"}, None),
        (0, {"normalizer": "batch_norm", "ranks": 6, "model": "resnet20_strided"}, "a batch statistic needs 2 values"),
    ],
)
def test_a_cell_that_cannot_be_here_is_skipped_with_a_reason_before(monkeypatch, gpus, changes, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    asked = Cell("sync_cost", 1, cell(**changes))
    check_devices([asked])
    reason = skip_reason(asked, {})
    assert (reason is None) if words is None else (words in str(reason))


def test_under_torchrun_the_ranks_are_those_that_it_has_started(monkeypatch):
    monkeypatch.setattr(machines, "_ranks", machines._Ranks(0, 8, dist.HashStore()))
    with pytest.raises(UsageError, match=r"a cell has ranks = 2; give --set ranks=8$"):
        check_devices([Cell("sync_cost", 1, cell())])
    check_devices([Cell("sync_cost", 1, cell(ranks=8, batch_size=8))])


def test_ranks_with_more_threads_than_there_are_cores_are_said_to_share_them(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert not sync_rank.shares_cores(cell(ranks=1, batch_size=1))
    assert sync_rank.shares_cores(cell(ranks=1, batch_size=1, threads=cores() + 1))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(cores() + 1))
    assert sync_rank.shares_cores(cell(ranks=1, batch_size=1))


# whole runs

BAD = """
import os, signal, time
from pathlib import Path
import normzoo

def bad(name, act):
    @normzoo.register(name, paper="none", year=None, pools=set())
    class Bad(normzoo.card("none").factory):
        def forward(self, x):
            if os.environ.get("RANK") == "1":
                act()
            return super().forward(x)
    return Bad

Dies = bad("a_rank_dies", lambda: os.kill(os.getpid(), signal.SIGKILL))
def hang():
    Path(__file__).with_name("hangs").touch()
    time.sleep(600)

Hangs = bad("a_rank_hangs", hang)
"""

SUITE = """
name = "sync"
question = "Do they wait for each other?"
protocol = 1

[[grids]]
measure = "sync_cost"
fixed = { model = "small_convnet", image_size = 8, batch_size = 6 }
[grids.axes]
normalizer = ["sync_batch_norm"]
ranks = [1, 2]
"""


def records(folder, **asked):
    (folder / "sync.toml").write_text(SUITE, encoding="utf-8")
    (folder / "bad.py").write_text(BAD, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        out = normzoo_bench.run(
            str(folder / "sync.toml"), out=folder / "run", load=[str(folder / "bad.py")], jobs=1, **asked
        )
    found = read_run(out.folder).records.values()
    return {(one.settings["normalizer"], one.settings["ranks"]): one for one in found}


@PROC
@pytest.mark.slow
def test_a_run_gives_times_a_dead_rank_is_told_and_none_is_left(tmp_path):
    found = records(tmp_path, normalizers=["sync_batch_norm", "a_rank_dies"])
    assert {key: one.status for key, one in found.items()} == {
        ("sync_batch_norm", 1): "ok",
        ("sync_batch_norm", 2): "ok",
        ("a_rank_dies", 1): "ok",
        ("a_rank_dies", 2): "crashed",
    }
    # a cell that dies is tried once more, since the machine may be the one to blame
    why = f"the process of rank 1 of 2 died (signal {signal.SIGKILL:d}), in each of 2 tries"
    assert found["a_rank_dies", 2].reason == why
    alone, both = (found["sync_batch_norm", ranks].metrics["collectives"] for ranks in (1, 2))
    assert both - alone == 2 * LAYERS
    assert left(tmp_path) == []
    assert list(tmp_path.glob("normzoo-*")) == []


@PROC
@pytest.mark.slow
def test_a_cell_killed_at_its_timeout_leaves_no_rank(tmp_path):
    found = records(tmp_path, normalizers=["a_rank_hangs"], settings={"ranks": "2"}, timeout=60)
    assert (tmp_path / "hangs").exists()
    assert [one.status for one in found.values()] == ["timeout"]
    deadline = time.monotonic() + 15
    while left(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left(tmp_path) == []


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
