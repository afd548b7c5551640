"""What a cell asks of a cluster's node, what nodes can hold, and what `run` says before it joins one. No Ray needed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import normzoo_bench
from normzoo_bench.errors import UsageError
from normzoo_bench.running.shares import Node, Share, check, fits, room, share
from normzoo_suites import Cell
from normzoo_suites.settings import MEASURES

LAYER = {"normalizer": "group_norm", "shape": "8x4x4", "batch_size": 4}
TRAINING = {"normalizer": "group_norm", "dataset": "digits", "model": "mlp", "epochs": 1, "batch_size": 40}
SYNC = {"normalizer": "sync_batch_norm", "model": "resnet18", "image_size": 32, "batch_size": 8}


def cell(measure: str, **changes: object) -> Cell:
    base = {"throughput": LAYER, "accuracy": TRAINING, "sync_cost": SYNC}[measure]
    return Cell(measure, 1, MEASURES[measure].model_validate(base | changes))


@pytest.mark.parametrize(
    ("asked", "gpu_share", "wanted"),
    [
        (cell("accuracy"), 0.5, Share(1)),
        (cell("accuracy", ranks=8), 1, Share(1)),  # virtual: one process
        (cell("accuracy", device="cuda"), 0.5, Share(1, 0.5)),
        (cell("accuracy", ranks=4, ranks_backend="process"), 0.5, Share(4)),
        (cell("accuracy", ranks=4, ranks_backend="process", device="cuda"), 0.5, Share(4, 4)),
        (cell("throughput"), 0.5, Share(1, 0, whole=True)),
        (cell("throughput", threads=3), 1, Share(3, 0, whole=True)),
        (cell("throughput", device="cuda"), 0.5, Share(1, 1)),  # a whole GPU, whatever trainings take
        (cell("sync_cost", ranks=4, threads=2), 1, Share(8, 0, whole=True)),
        (cell("sync_cost", ranks=4, device="cuda"), 1, Share(4, 4)),
    ],
)
def test_a_cell_asks_for_its_processes_and_their_devices(asked: Cell, gpu_share: float, wanted: Share) -> None:
    assert share([asked], gpu_share) == wanted


def test_cells_of_one_process_ask_for_the_most_that_one_of_them_needs() -> None:
    cells = [cell("throughput", threads=2), cell("throughput", device="cuda"), cell("throughput")]
    assert share(cells, 1) == Share(2, 1, whole=True)


@pytest.mark.parametrize(
    ("wanted", "node", "count"),
    [
        (Share(1), Node("a", 4, 0), 4),
        (Share(3), Node("a", 8, 0), 2),
        (Share(1, whole=True), Node("a", 8, 0), 1),
        (Share(9, whole=True), Node("a", 8, 0), 0),
        (Share(1, 1), Node("a", 8, 2), 2),
        (Share(1, 1), Node("a", 1, 8), 1),
        (Share(1, 1), Node("a", 8, 0), 0),
        (Share(1, 0.5), Node("a", 8, 2), 4),
        (Share(1, 0.4), Node("a", 8, 2), 4),  # two on each GPU; what is left of both makes no third
        (Share(1, 0.1), Node("a", 64, 1), 10),
        (Share(2, 2), Node("a", 8, 3), 1),
    ],
)
def test_a_node_holds_as_many_jobs_as_its_cpus_and_gpus_allow(wanted: Share, node: Node, count: int) -> None:
    assert room(wanted, [node]) == count
    assert room(wanted, [node, node]) == 2 * count
    assert fits(wanted, node) == (count > 0)


def test_cpus_of_two_nodes_do_not_add_up_to_those_of_one() -> None:
    assert room(Share(3), [Node("a", 2, 0), Node("b", 2, 0)]) == 0


def test_a_cell_that_no_node_can_hold_is_told_with_what_it_needs_and_what_there_is() -> None:
    nodes = [Node("a", 0, 0), Node("b", 2, 1)]
    check([cell("accuracy"), cell("accuracy", ranks=2, ranks_backend="process")], nodes, 1)
    with pytest.raises(UsageError) as told:
        check([cell("accuracy", ranks=4, ranks_backend="process")], nodes, 1)
    assert str(told.value) == (
        "a cell of accuracy (group_norm, on cpu), whose 4 ranks are processes, needs 4 CPUs on one node, and no node "
        "of the cluster has them: there are 2 nodes with 2 CPUs and 1 GPU at most; change the plan with --set or "
        "--device, or start such a node with `ray start`"
    )
    with pytest.raises(UsageError, match=r"needs 1 CPU and 1 GPU on one node.*there is 1 node with 2 CPUs and 0 GPUs"):
        check([cell("throughput", device="cuda")], [Node("b", 2, 0)], 1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"executor": "slurm"}, "unknown executor 'slurm'; known: local, ray"),
        ({"executor": "rya"}, "unknown executor 'rya'; did you mean 'ray'"),
        ({"address": "auto"}, "address is about a cluster; give --executor ray, too"),
        ({"gpu_share": 0.5}, "gpu_share is about a cluster; give --executor ray, too"),
        ({"executor": "ray", "gpu_share": 0.0}, "gpu_share must be above 0 and at most 1, got 0.0"),
        ({"executor": "ray", "gpu_share": 2.0}, "gpu_share must be above 0 and at most 1, got 2.0"),
    ],
)
def test_an_executor_that_cannot_be_is_told_before_anything_is_planned(asked: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as told:
        normzoo_bench.run("no such suite", **asked)
    assert said in str(told.value)


def test_without_ray_it_is_told_how_to_get_it_and_no_folder_is_made(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UsageError, match=r"needs Ray; pip install 'normzoo\[cluster\]', on every node"):
        normzoo_bench.run(tiny, out=tmp_path / "run", executor="ray")
    assert not (tmp_path / "run").exists()


def test_a_plan_for_other_machines_asks_for_no_gpu_of_this_one(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    asked = {"settings": {"device": "cuda", "ranks": "5"}}
    with pytest.raises(UsageError, match="torch finds no CUDA device here"):
        normzoo_bench.plan(tiny, **asked)
    made = normzoo_bench.plan(tiny, **asked, elsewhere=True)
    assert {one.settings.device for one in made.to_do()} == {"cuda"}
