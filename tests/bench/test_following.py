"""What a tracker's process makes of what is written for it, and what a training tells of itself."""

from __future__ import annotations

import pytest
from trackers import record

from normzoo_bench import accuracy, tracking
from normzoo_bench.result import Diverged
from normzoo_bench.tracking.follow import Follower
from normzoo_bench.tracking.names import named, varied
from normzoo_bench.tracking.spool import Spool, write_ended
from normzoo_bench.training.observe import observed, observer
from normzoo_suites import Cell


class Listed:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def begin(self, cell):
        self.told.append(("begin", cell.own))
        return ListedCurve(self.told, cell.own)


class ListedCurve:
    def __init__(self, told, own) -> None:
        self.told, self.own = told, own

    def epoch(self, number, values):
        self.told.append(("epoch", self.own, number, *values.values()))

    def end(self, epochs, ended):
        self.told.append((ended.status, self.own, epochs))


@pytest.fixture
def followed(tmp_path):
    """What a tracker is told of what is written into a folder, when it is asked to read."""
    tracker, failures = Listed(), []
    return Follower(tmp_path, tracker, {}, failures.append), tracker.told, failures


def cells(settings, *changes) -> list[Cell]:
    return [Cell("accuracy", 1, settings(**change)) for change in changes]


def own(cell: Cell) -> str:
    return named(cell.to_json(), {}).own


def test_seeds_side_by_side_and_cells_of_one_training_each_get_their_own_epochs(followed, settings, digits, tmp_path):
    follower, told, _ = followed
    job = cells(settings, {"seed": 0}, {"seed": 0, "readings": "all"}, {"seed": 1})
    with tracking.spooling(Spool((tmp_path,))), tracking.begin(job):
        both = [accuracy.measure(cell.settings, digits) for cell in (job[0], job[2])]
    follower.read()
    for cell, result in zip(job, (both[0], both[0], both[1]), strict=True):
        (values,) = zip(*result.series.values(), strict=True)
        assert ("epoch", own(cell), 1, *values) in told
    assert len(told) == 6
    for cell in job:
        write_ended(tmp_path, record(cell))
    follower.read()
    assert not list(tmp_path.iterdir())


def test_a_job_that_is_tried_again_begins_its_curves_anew(followed, settings, tmp_path):
    follower, told, failures = followed
    (cell,) = cells(settings, {})
    for loss in (1.0, 2.0):
        with tracking.spooling(Spool((tmp_path,))), tracking.begin([cell]):
            observer()(0, 1, {"train_loss": loss})
        follower.read()
    name = own(cell)
    again = [("epoch", name, 1, 1.0), ("repeated", name, 1), ("begin", name), ("epoch", name, 1, 2.0)]
    assert told == [("begin", name), *again]
    assert not failures


def test_a_line_that_is_read_while_it_is_written_is_told_when_it_is_whole(followed, settings, tmp_path):
    follower, told, failures = followed
    (cell,) = cells(settings, {})
    with tracking.spooling(Spool((tmp_path,))), tracking.begin([cell]):
        (file,) = observer().files
    for part in ('{"seed": 0, "epoch": 1, ', '"values": {"train_loss": 1.0}}\n'):
        with file.open("a", encoding="utf-8") as stream:
            stream.write(part)
        follower.read()
    assert told == [("begin", own(cell)), ("epoch", own(cell), 1, 1.0)]
    assert not failures


class Kept:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.series: dict[str, list[float]] = {}
        self.epochs: list[int] = []

    def __deepcopy__(self, memo):
        return self  # as one that writes into a file is, a copy of it or not

    def __call__(self, seed, epoch, values):
        self.epochs.append(epoch)
        for name, value in values.items():
            self.series.setdefault(name, []).append(value)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 4, "frozen_from": 0.5, "readings": "all"},
        {"epochs": 4, "ranks": 4, "local_epochs": 2, "buffers": "mean", "frozen_from": 0.5},
        {"epochs": 2, "learning_rate": 1e18, "normalizer": "none"},
    ],
    ids=["with a branch", "federated", "diverged"],
)
def test_an_observer_hears_the_epochs_that_the_record_has_each_once(changes, settings, digits):
    kept = Kept()
    with observed(kept):
        try:
            found = accuracy.measure(settings(train_samples=200, **changes), digits)
        except Diverged as error:
            found = error.result
    assert kept.series == {name: values for name, values in found.series.items() if values}
    assert kept.epochs == list(range(1, len(found.series["train_loss"]) + 1))


@pytest.mark.slow
def test_ranks_as_processes_tell_each_epoch_once(followed, settings, digits, tmp_path):
    follower, told, _ = followed
    (cell,) = cells(settings, {"ranks": 2, "ranks_backend": "process", "epochs": 2, "train_samples": 200})
    with tracking.spooling(Spool((tmp_path,))), tracking.begin([cell]):
        result = accuracy.measure(cell.settings, digits)
    follower.read()
    values = zip(*result.series.values(), strict=True)
    assert told == [("begin", own(cell)), *(("epoch", own(cell), n, *one) for n, one in enumerate(values, start=1))]


def test_a_cell_is_called_by_what_the_suite_varies(settings):
    both = cells(settings, {"ranks": 1}, {"ranks": 5})
    by = varied(both)
    assert by == {"accuracy": ("ranks",)}
    assert varied(both, tuned=["learning_rate"]) == {"accuracy": ("learning_rate", "ranks")}
    name = named(both[1].to_json(), by)
    assert (name.group, name.own) == (("batch_norm", "ranks=5"), f"seed0 {both[1].id[:8]}")
